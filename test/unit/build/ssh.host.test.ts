// SSH agents of builds, with OpenSSH's ssh-agent, ssh-add and ssh-keygen at both ends: a client
// lists keys and signs with them, and changes nothing. The agent of a build holds the user's key
// files, and ends with the build, however that ends.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { SshAgents, sshSource } from '../../../build/ssh/agents.js';
import { FAILURE, framed, MAX_MESSAGE, REQUEST_IDENTITIES } from '../../../build/ssh/messages.js';
import { relay } from '../../../build/ssh/relay.js';
import { messageOf } from '../../../errors/index.js';
import { defer } from '../../../sandbox/deferred.js';
import { finished } from '../images/bundle.js';

const TSVM = fileURLToPath(new URL('../../../bin/tsvm', import.meta.url));
const NO_SIGNAL = new AbortController().signal;
const EXTENSION = 27;

let folder: string;
let keys: { plain: string; other: string; locked: string };

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'tsvm-ssh-'));
  keys = { plain: makeKey('plain'), other: makeKey('other', '', 'rsa'), locked: makeKey('locked', 'passphrase') };
});

afterAll(() => {
  rmSync(folder, { recursive: true });
});

function makeKey(name: string, passphrase = '', type = 'ed25519'): string {
  const path = join(folder, name);
  execFileSync('ssh-keygen', ['-q', '-t', type, '-N', passphrase, '-C', name, '-f', path]);
  return path;
}

/** Runs a program that asks the agent at a socket. */
function ask(socket: string, program: string, ...words: string[]) {
  const env = { PATH: process.env.PATH, LC_ALL: 'C', SSH_AUTH_SOCK: socket, SSH_ASKPASS_REQUIRE: 'never' };
  return finished(spawn(program, words, { env, stdio: ['ignore', 'pipe', 'pipe'] }));
}

/** A socket whose clients are relayed, as those of a RUN are. */
class Relayed implements AsyncDisposable {
  readonly socket: string;
  readonly #server: Server;

  private constructor(socket: string, agent: string) {
    this.socket = socket;
    this.#server = createServer({ allowHalfOpen: true }, (client) => void relay(client, agent));
  }

  static async open(agent: string): Promise<Relayed> {
    const relayed = new Relayed(join(mkdtempSync(join(folder, 'relayed-')), 's'), agent);
    relayed.#server.listen(relayed.socket);
    await once(relayed.#server, 'listening');
    return relayed;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, 'close');
  }
}

describe('a client of a relayed agent', () => {
  let agents: SshAgents;
  let agent: string;
  let relayed: Relayed;

  beforeEach(async () => {
    agents = await SshAgents.open(new Map([['default', { keys: [keys.plain, keys.other] }]]), NO_SIGNAL);
    agent = agents.socketOf('default')!;
    relayed = await Relayed.open(agent);
  });

  afterEach(async () => {
    await relayed[Symbol.asyncDispose]();
    await agents[Symbol.asyncDispose]();
  });

  test('lists the keys', async () => {
    const listed = await ask(relayed.socket, 'ssh-add', '-l');
    expect(listed).toEqual(await ask(agent, 'ssh-add', '-l'));
    expect(listed.stdout).toMatch(/ plain \(ED25519\)\n.* other \(RSA\)\n$/);
  });

  test('signs with each of them, several clients at once', async () => {
    const verify = async (name: 'plain' | 'other', at: number) => {
      const file = join(folder, `${name}-${at}`);
      writeFileSync(file, `${name} ${at}`);
      const key = `${keys[name]}.pub`;
      const signed = await ask(relayed.socket, 'ssh-keygen', '-q', '-Y', 'sign', '-n', 'file', '-f', key, '-U', file);
      expect(signed).toMatchObject({ code: 0 });
      const signers = join(folder, `${name}-${at}.signers`);
      writeFileSync(signers, `me ${readFileSync(key)}`);
      const checked = ['-Y', 'verify', '-n', 'file', '-f', signers, '-I', 'me', '-s', `${file}.sig`];
      return execFileSync('ssh-keygen', checked, { input: `${name} ${at}`, encoding: 'utf8' });
    };
    const each = Array.from({ length: 4 }, (_, at) => [verify('plain', at), verify('other', at)]).flat();
    for (const said of await Promise.all(each)) expect(said).toMatch(/^Good "file" signature for me /);
  });

  test.each([
    ['removes no key', ['-D']],
    ['removes not one key', ['-d', 'PLAIN']],
    ['adds no key', ['THIRD']],
    ['locks nothing', ['-x']],
    ['loads no library', ['-s', '/usr/lib/x86_64-linux-gnu/libc.so.6']],
  ])('%s', async (_, words) => {
    const third = join(folder, 'third');
    if (!existsSync(third)) makeKey('third');
    const given = words.map((word) => word.replace('PLAIN', keys.plain).replace('THIRD', third));
    const before = await ask(agent, 'ssh-add', '-L');
    // ssh-add reads a password from its input.
    const { code } = await ask(relayed.socket, 'sh', '-c', 'printf "x\\nx\\n" | ssh-add "$@"', 'ssh-add', ...given);
    expect(code).not.toBe(0);
    expect(await ask(agent, 'ssh-add', '-L')).toEqual(before);
  });

  test('is answered in order, though it sends all at once and ends', async () => {
    const client = connect({ path: relayed.socket, allowHalfOpen: true });
    const requests = [
      [EXTENSION, 0, 0, 0, 0],
      [REQUEST_IDENTITIES],
      [99],
      [REQUEST_IDENTITIES, 1],
      [REQUEST_IDENTITIES],
    ];
    client.end(Buffer.concat(requests.map((request) => framed(Buffer.from(request)))));
    const chunks: Buffer[] = [];
    for await (const chunk of client) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    const types: number[] = [];
    for (let at = 0; at < bytes.length; at += 4 + bytes.readUInt32BE(at)) types.push(bytes[at + 4]!);
    expect(types).toEqual([FAILURE, 12, FAILURE, FAILURE, 12]);
  });

  test('is closed after what is no message, and others go on', async () => {
    const client = connect(relayed.socket);
    client.on('error', () => {});
    const length = Buffer.alloc(4);
    length.writeUInt32BE(MAX_MESSAGE + 1);
    client.write(length);
    await once(client, 'close');
    expect(await ask(relayed.socket, 'ssh-add', '-l')).toMatchObject({ code: 0 });
  });

  test('is told that its request failed when the agent has gone', async () => {
    await agents[Symbol.asyncDispose]();
    expect(existsSync(agent)).toBe(false);
    expect(await ask(relayed.socket, 'ssh-add', '-l')).toMatchObject({ code: 1, stdout: '' });
  });
});

test('an answer that is none reaches no client, and the next request gets another connection', async () => {
  const answers = [Buffer.of(0, 0, 0, 0), framed(Buffer.of(99)), framed(Buffer.of(12, 0, 0, 0, 0))];
  let count = 0;
  const agent = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.write(answers[count++]!));
  });
  const path = join(folder, 'odd');
  agent.listen(path);
  await once(agent, 'listening');
  await using relayed = await Relayed.open(path);
  const client = connect({ path: relayed.socket, allowHalfOpen: true });
  client.end(Buffer.concat([1, 2, 3].map(() => framed(Buffer.of(REQUEST_IDENTITIES)))));
  const chunks: Buffer[] = [];
  for await (const chunk of client) chunks.push(chunk as Buffer);
  const refused = framed(Buffer.of(FAILURE));
  expect(Buffer.concat(chunks)).toEqual(Buffer.concat([refused, refused, framed(Buffer.of(12, 0, 0, 0, 0))]));
  agent.close();
});

test('a client that reads no answer leaves no connection to the agent when it goes', async () => {
  const [asked, left] = [defer<void>(), defer<void>()];
  const agent = createServer((socket) => {
    socket.once('data', () => {
      socket.write(framed(Buffer.of(12, 0, 0, 0, 0)));
    });
    socket.once('close', () => left.resolve());
  });
  const path = join(folder, 'patient');
  agent.listen(path);
  await once(agent, 'listening');
  const client = new Duplex({ read: () => {}, write: () => asked.resolve() });
  client.push(framed(Buffer.of(REQUEST_IDENTITIES)));
  const relayed = relay(client, path);
  await asked.promise;
  client.destroy();
  await relayed;
  await left.promise;
  agent.close();
});

describe('--ssh', () => {
  const failureOf = async (paths: [string, ...string[]]): Promise<string> => {
    try {
      const agents = await SshAgents.open(new Map([['default', sshSource(paths)]]), NO_SIGNAL);
      await agents[Symbol.asyncDispose]();
      return '';
    } catch (error) {
      return messageOf(error);
    }
  };

  test('takes key files that ssh-add takes, and says why it does not take others, in one line', async () => {
    const open = makeKey('open');
    chmodSync(open, 0o644);
    const junk = join(folder, 'junk');
    writeFileSync(junk, 'junk\n', { mode: 0o600 });
    expect(await failureOf([keys.plain, keys.other])).toBe('');
    expect(await failureOf([keys.plain, keys.locked])).toBe(
      `the key ${keys.locked} has a passphrase: ssh-add it to your own agent, and give --ssh without a file`,
    );
    expect(await failureOf([open])).toBe(`others may read the key ${open}: chmod 600`);
    expect(await failureOf([junk])).toMatch(/^cannot use the key \/.*junk: Error loading key .*$/);
    expect(await failureOf([join(folder, 'none')])).toMatch(
      /^cannot use .*none for --ssh: ENOENT: no such file or directory/,
    );
    expect(await failureOf([folder])).toBe(`${folder} is neither a socket nor a file with a key`);
  });

  test('takes the agent of a socket, and leaves it as it is', async () => {
    await using own = await SshAgents.open(new Map([['a', { keys: [keys.plain] }]]), NO_SIGNAL);
    const socket = own.socketOf('a')!;
    expect(sshSource([socket])).toEqual({ socket });
    expect(() => sshSource([socket, keys.plain])).toThrow('is a socket: give it alone, or files with keys');
    {
      await using agents = await SshAgents.open(new Map([['default', { socket }]]), NO_SIGNAL);
      expect([agents.socketOf('default'), agents.socketOf('a')]).toEqual([socket, undefined]);
    }
    expect(await ask(socket, 'ssh-add', '-l')).toMatchObject({ code: 0 });
    await expect(SshAgents.open(new Map([['default', { socket: keys.plain }]]), NO_SIGNAL)).rejects.toThrow(
      `${keys.plain} is no socket`,
    );
  });

  test('an agent that a build has started ends with it, also when that is killed', async () => {
    // The build waits for a registry that never answers.
    const asked = new Set<Socket>();
    const registry = createServer((socket) => asked.add(socket));
    registry.listen(0, '127.0.0.1');
    await once(registry, 'listening');
    const { port } = registry.address() as AddressInfo;
    const home = join(folder, 'home');
    const words = ['build', '--ssh', `default=${keys.plain}`, '-'];
    const child = spawn(TSVM, words, { env: { ...process.env, TSVM_HOME: home }, stdio: ['pipe', 'ignore', 'ignore'] });
    child.stdin.end(`FROM 127.0.0.1:${port}/x\n`);
    await once(registry, 'connection');
    const holders = childrenOf(child.pid!).filter((pid) => nameOf(pid) === 'cat');
    expect(holders).toHaveLength(1);
    const [agent] = childrenOf(holders[0]!);
    expect(nameOf(agent!)).toBe('ssh-agent');
    child.kill('SIGKILL');
    await once(child, 'close');
    while (nameOf(agent!) === 'ssh-agent') await sleep(50);
    expect(nameOf(holders[0]!)).not.toBe('cat');
    for (const socket of asked) socket.destroy();
    registry.close();
  });
});

function childrenOf(pid: number): number[] {
  const tasks = readdirSync(`/proc/${pid}/task`);
  return tasks.flatMap((task) =>
    readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
  );
}

/** The name of a process, or '' if it has ended. */
function nameOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, 'utf8').trim();
  } catch {
    return '';
  }
}
