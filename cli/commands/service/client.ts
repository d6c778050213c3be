// A client of a service: requests with a key, and errors as the service tells them. It is not `fetch`,
// whose promise is never settled if the connection is closed as soon as it is open: Node.js 20.
import { type ClientRequest, request as httpRequest, type IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { json } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { Option } from 'commander';
import { hasCode, messageOf } from '../../../errors/index.js';
import { UsageError } from '../../output/errors.js';
import { defined } from '../command.js';

/** Where a service is. The key is no option: other users of the host see the words of a command. */
export const SERVER = () =>
  new Option('--server <URL>', 'the service').default('http://127.0.0.1:7070').env('TSVM_SERVER');
/** The end of the help of each command that has it. */
export const ADDRESS = `
TSVM_KEY in the environment has the API key, TSVM_SERVER the default of --server.`;
const KEY = 'TSVM_KEY';
/** The most records in one answer. */
const MAX_PAGE = 100;
/** Milliseconds without a byte of the service. A stream of events has one every 15 s. */
const SILENCE = 300_000;

/** A request failed. The message is for the user. */
export class ClientError extends Error {
  override readonly name = 'ServiceError';
}

/** The service refused a request. */
export class RefusedError extends ClientError {
  readonly status: number;
  /** The service's word for why. */
  readonly problem: string | undefined;

  constructor(message: string, status: number, problem?: string) {
    super(message);
    this.status = status;
    this.problem = problem;
  }

  /** What an answer tells that is a problem. */
  static async of(answer: IncomingMessage): Promise<RefusedError> {
    const { statusCode: status = 0 } = answer;
    const problem: unknown = await json(answer).catch(() => undefined);
    const { detail, code } = (problem ?? {}) as { detail?: unknown; code?: unknown };
    const message = typeof detail === 'string' ? detail : `the service answered with ${status}`;
    return new RefusedError(message, status, typeof code === 'string' ? code : undefined);
  }
}

/** The path of something that has an ID. */
export const idPath = (id: string): string => `/${encodeURIComponent(id)}`;

export interface Request {
  method?: string;
  /** Sent as JSON. */
  body?: object;
  /** Sent as it is. */
  content?: AsyncIterable<Uint8Array>;
  headers?: Record<string, string>;
}

export class ServiceClient {
  readonly #server: string;
  readonly #key: string;

  /** @throws UsageError */
  constructor({ server }: { server: string }) {
    if (!URL.canParse(server) || !/^https?:/.test(server)) {
      throw new UsageError(`invalid argument '${server}' for --server: expected a URL such as http://127.0.0.1:7070`);
    }
    const key = process.env[KEY];
    if (key === undefined || key === '') throw new UsageError(`${KEY} in the environment has no API key`);
    this.#server = server.replace(/\/+$/, '');
    this.#key = key;
  }

  /** The JSON of an answer. @throws ClientError */
  async call(path: string, request: Request = {}): Promise<unknown> {
    return await this.read(path, request, async (answer) => {
      try {
        return await json(answer);
      } catch (error) {
        throw new ClientError(`cannot read the answer of ${this.#server}: ${messageOf(error)}`);
      }
    });
  }

  /**
   * Calls `use` with an answer.
   * @throws ClientError, also if the answer breaks off; the error of `use`
   */
  async read<T>(path: string, request: Request, use: (answer: IncomingMessage) => Promise<T>): Promise<T> {
    const answer = await this.open(path, request);
    let isBroken = false;
    // What reads it may take an answer that breaks off for one that ends, or tell of it in its own
    // words.
    answer.on('error', (error) => {
      isBroken ||= hasCode(error, 'ECONNRESET');
    });
    const brokeOff = () => new ClientError(`the answer of ${this.#server} broke off`);
    const result = await use(answer).catch((error: unknown) => {
      throw isBroken ? brokeOff() : error;
    });
    if (isBroken) throw brokeOff();
    return result;
  }

  /** An answer, whose body is to be read. @throws ClientError; the error of `content` */
  async open(path: string, { method = 'GET', body, content, headers = {} }: Request = {}): Promise<IncomingMessage> {
    const url = new URL(`${this.#server}${path}`);
    const text = body === undefined ? undefined : JSON.stringify(body);
    const own = {
      ...{ Authorization: `Bearer ${this.#key}`, ...headers },
      ...(text === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(text) }),
    };
    const send = url.protocol === 'https:' ? httpsRequest : httpRequest;
    let answer: IncomingMessage;
    try {
      const request = send(url, { method, headers: own, timeout: SILENCE });
      answer = await exchange(request, content ?? text);
    } catch (error) {
      // A file of the user that cannot be read.
      if (hasCode(error, 'no-such-file', 'tool')) throw error;
      throw this.unreachable(error);
    }
    const { statusCode: status = 0 } = answer;
    if (status >= 200 && status < 300) return answer;
    throw await RefusedError.of(answer);
  }

  /** The newest records of a kind, so many of them. @throws ClientError */
  async list<Kind>(kind: 'jobs' | 'sandboxes' | 'snapshots', count: number, status?: string): Promise<Kind[]> {
    const found: Kind[] = [];
    for (let before: string | undefined; found.length < count; ) {
      const limit = String(Math.min(MAX_PAGE, count - found.length));
      const query = new URLSearchParams(defined({ limit, status, before }) as Record<string, string>);
      const page = (await this.call(`/v1/${kind}?${query}`)) as Record<typeof kind, Kind[]> & { next?: string };
      found.push(...page[kind]);
      if (page.next === undefined) break;
      before = page.next;
    }
    return found;
  }

  /** Where a WebSocket is opened, and with which headers. */
  socketAt(path: string): { url: string; headers: Record<string, string> } {
    const url = `${this.#server}${path}`.replace(/^http/, 'ws');
    return { url, headers: { Authorization: `Bearer ${this.#key}` } };
  }

  /** Why there is no answer. */
  unreachable(error: unknown): ClientError {
    const why = hasCode(error, 'ECONNREFUSED') ? 'nothing listens there' : messageOf(error);
    return new ClientError(`cannot reach ${this.#server}: ${why}`);
  }
}

/** Sends a request. Resolves to the head of its answer, which may come before all is sent. */
function exchange(
  request: ClientRequest,
  content: AsyncIterable<Uint8Array> | string | undefined,
): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request.once('response', resolve);
    request.on('error', reject);
    request.once('timeout', () => request.destroy(new Error(`it has sent nothing for ${SILENCE / 1000} s`)));
    if (content === undefined || typeof content === 'string') request.end(content);
    else pipeline(content, request).catch(reject);
  });
}
