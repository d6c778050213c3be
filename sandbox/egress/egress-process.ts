// Starts the process that is the proxy of placeholders of one container (main.ts), for the
// supervisor, which loads no library of TLS.
import { type ChildProcess, spawn } from 'node:child_process';
import { Socket } from 'node:net';
import { messageOf } from '../../errors/index.js';
import { JsonLines } from '../../vmm/json-lines.js';
import type { EgressPort } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { EGRESS_PROGRAM, programEnvironment } from '../programs.js';
import type { Secrets } from '../spec/secrets.js';
import type { Announced } from './admission.js';
import type { EgressOrder, EgressReply } from './messages.js';

/** Milliseconds until it listens: it makes keys. */
const START_TIMEOUT = 60_000;
const MAX_LINE = 8 * 1024 * 1024;

/** Files of /run/secrets: the proxy's CA, and the same with the roots of Node.js. */
const OWN = 'tsvm-ca.pem';
const BUNDLE = 'tsvm-ca-bundle.pem';
/** What programs read: those with a bundle trust nothing else. */
const VARIABLES: Readonly<Record<string, string>> = {
  NODE_EXTRA_CA_CERTS: OWN,
  SSL_CERT_FILE: BUNDLE,
  REQUESTS_CA_BUNDLE: BUNDLE,
  CURL_CA_BUNDLE: BUNDLE,
  GIT_SSL_CAINFO: BUNDLE,
  AWS_CA_BUNDLE: BUNDLE,
};

type Listening = Extract<EgressReply, { type: 'listening' }>;

export class EgressProcess implements EgressPort, Disposable {
  readonly #child: ChildProcess;
  readonly #orders: Socket;
  #isOver = false;
  #listening: Listening | undefined;

  private constructor() {
    this.#child = spawn(process.execPath, [EGRESS_PROGRAM], {
      stdio: ['ignore', 'ignore', 'ignore', 'pipe'],
      detached: true,
      cwd: '/',
      env: programEnvironment(),
    });
    this.#child.unref();
    const orders = this.#child.stdio[3];
    if (!(orders instanceof Socket)) throw new TypeError('the child process has no pipes');
    this.#orders = orders;
    const end = () => {
      this.#isOver = true;
    };
    orders.on('error', end);
    orders.on('close', end);
  }

  /** Resolves when it listens. @throws SandboxError `state` */
  static async start({ placeholders = [], upstream, audit }: Secrets): Promise<EgressProcess> {
    const started = new EgressProcess();
    try {
      started.#send({ type: 'serve', placeholders, upstream, audit });
      started.#listening = await started.#reply();
      started.#orders.unref();
      return started;
    } catch (error) {
      started[Symbol.dispose]();
      throw error;
    }
  }

  #reply(): Promise<Listening> {
    const lines = new JsonLines(MAX_LINE);
    return new Promise((resolve, reject) => {
      const fail = (why: string) =>
        reject(new SandboxError('state', `the proxy of placeholders of secrets did not start: ${why}`));
      const timer = setTimeout(() => fail('it took too long'), START_TIMEOUT);
      this.#child.once('error', (error) => fail(messageOf(error)));
      this.#orders.once('close', () => {
        clearTimeout(timer);
        fail('it ended');
      });
      this.#orders.on('data', (chunk: Buffer) => {
        for (const line of lines.read(chunk)) {
          const reply = line as EgressReply;
          clearTimeout(timer);
          if (reply.type === 'listening') resolve(reply);
          else fail(reply.reason);
        }
      });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /**
   * Its port of the loopback interface. Undefined: it has ended, and another program may have the
   * port.
   */
  get port(): number | undefined {
    return this.#isOver ? undefined : this.#listening?.port;
  }

  /** Lets a connection in, which may have come already. */
  announce(announced: Announced): void {
    this.#send({ type: 'connection', ...announced });
  }

  /**
   * With what makes programs of the container trust the proxy.
   * @param env variables that the caller has set, which stay
   */
  trusted(secrets: Secrets, env: Readonly<Record<string, unknown>> = {}): Secrets {
    const { own = '', bundle = '' } = this.#listening?.certificates ?? {};
    const variables = Object.entries(VARIABLES).filter(([name]) => env[name] === undefined);
    return {
      ...secrets,
      env: { ...Object.fromEntries(variables.map(([name, file]) => [name, `/run/secrets/${file}`])), ...secrets.env },
      files: { ...secrets.files, [OWN]: own, [BUNDLE]: bundle },
    };
  }

  #send(order: EgressOrder): void {
    if (!this.#isOver) this.#orders.write(`${JSON.stringify(order)}\n`);
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#orders.destroy();
  }
}
