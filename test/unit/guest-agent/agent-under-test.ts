// Runs the real agent as process 1 of its own namespaces on this machine, and is the host's end of
// its connections.
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type AgentFrame,
  type ErrorFrame,
  type ExitedFrame,
  encodeFrame,
  FrameDecoder,
  type HelloFrame,
  type HostFrame,
  type StreamName,
} from '../../../sandbox/agent/protocol.js';
import { asRoot } from './container-image.js';

/**
 * The path of the agent. The build has made it, and make makes what is older than its source: one
 * test at a time.
 */
export function buildAgent(): string {
  const source = new URL('../../../guest-agent', import.meta.url).pathname;
  execFileSync('flock', ['Makefile', 'make', '-s', 'agent'], { cwd: source, stdio: 'inherit' });
  return join(source, '../dist/guest-agent/agent');
}

/** Starts the agent in namespaces of its own. It connects to a socket of the host. */
export function spawnAgent(agent: string, path: string): ChildProcess {
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child', '--cgroup', '--net', '--uts', '--ipc'];
  const [file, args] = asRoot('unshare', ...namespaces, agent, '--unix', path);
  return spawn(file, args, { stdio: ['ignore', 'inherit', 'inherit'] });
}

/**
 * Runs a program of this machine in the mount and network namespaces of an agent, as root.
 * @param parent the process of `spawnAgent`
 */
export function runInside(parent: number | undefined, program: string, ...args: string[]): string {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, 'utf8').trim();
  const [file, argv] = asRoot('nsenter', '--target', children, '--mount', '--net', program, ...args);
  return execFileSync(file, argv, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
}

export class AgentUnderTest {
  readonly frames: AgentFrame[] = [];
  control: Socket | undefined;
  closed = false;
  readonly #streams = new Map<string, Socket>();
  readonly #directory = mkdtempSync(join(tmpdir(), 'agent-'));
  readonly #server: Server;
  #child: ChildProcess | undefined;
  readonly #beside: ChildProcess[] = [];
  #wake: (() => void)[] = [];

  constructor() {
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Runs a program of this machine in the agent's mount and network namespaces, as root. */
  inside(program: string, ...args: string[]): string {
    return runInside(this.#child?.pid, program, ...args);
  }

  /**
   * Starts a program of this machine in the agent's network namespace alone. It ends with the
   * agent.
   */
  spawnInside(program: string, ...args: string[]): ChildProcess {
    const children = readFileSync(`/proc/${this.#child?.pid}/task/${this.#child?.pid}/children`, 'utf8').trim();
    const [file, argv] = asRoot('nsenter', '--target', children, '--net', program, ...args);
    const child = spawn(file, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#beside.push(child);
    return child;
  }

  /**
   * Kills so many processes with this word in their command lines while the agent stands still: it
   * finds all of them dead.
   */
  killAtOnce(word: string, count: number): void {
    // A process that is about to execute another program has no command line for a moment.
    const script = `agent=$1; kill -STOP $agent
      until [ "$(echo $killed | wc -w)" -eq "$3" ]; do
        killed=
        for pid in $(cat /proc/$agent/task/$agent/children); do
          grep -q "$2" /proc/$pid/cmdline && killed="$killed $pid"
        done
      done
      kill -KILL $killed
      for pid in $killed; do until grep -q '^State:.Z' /proc/$pid/status; do sleep 0.01; done; done
      kill -CONT $agent`;
    const agent = readFileSync(`/proc/${this.#child?.pid}/task/${this.#child?.pid}/children`, 'utf8').trim();
    const [file, argv] = asRoot('sh', '-c', script, 'sh', agent, word, String(count));
    execFileSync(file, argv, { stdio: 'inherit', timeout: 60_000 });
  }

  /** Where this host sees a file of a container of which a process runs. */
  pathInside(path: string): string {
    const children = (pid: number | undefined) =>
      readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').map(Number);
    const seen = children(children(this.#child?.pid)[0]).map((pid) => `/proc/${pid}/root${path}`);
    return seen.find((each) => existsSync(each)) ?? path;
  }

  /** Takes streams at another port of the host, until it is disposed of. */
  async listen(port: number): Promise<Disposable> {
    const server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
    server.listen(join(this.#directory, `host.sock_${port}`));
    await once(server, 'listening');
    return { [Symbol.dispose]: () => void server.close() };
  }

  /** Breaks every connection, as the restore of a machine does. */
  disconnect(): void {
    this.frames.length = 0;
    this.control?.destroy();
    for (const socket of this.#streams.values()) socket.destroy();
    this.#streams.clear();
  }

  /** Starts the agent and waits for its hello. */
  async boot(agent: string): Promise<HelloFrame> {
    const path = join(this.#directory, 'host.sock');
    this.#server.listen(path);
    await once(this.#server, 'listening');
    this.#child = spawnAgent(agent, path);
    return (await this.waitFor((frame) => frame.type === 'hello')) as HelloFrame;
  }

  #changed(): void {
    for (const wake of this.#wake.splice(0)) wake();
  }

  async #until<T>(probe: () => T | undefined): Promise<T> {
    for (;;) {
      const found = probe();
      if (found !== undefined) return found;
      await new Promise<void>((resolve) => this.#wake.push(resolve));
    }
  }

  #accept(socket: Socket): void {
    const decoder = new FrameDecoder();
    socket.on('error', () => {});
    const take = (chunk: Buffer): void => {
      for (const frame of decoder.push(chunk)) {
        if (frame.type === 'stream') {
          socket.off('data', take);
          socket.pause();
          if (decoder.rest.length > 0) socket.unshift(decoder.rest);
          this.#streams.set(`${frame.process} ${frame.stream}`, socket);
        } else {
          this.control = socket;
          this.frames.push(frame);
        }
      }
      this.#changed();
    };
    socket.on('data', take);
    socket.on('end', () => {
      this.closed ||= socket === this.control;
      this.#changed();
    });
  }

  send(frame: HostFrame): void {
    this.sendBytes(encodeFrame(frame));
  }

  sendBytes(bytes: Buffer): void {
    this.control?.write(bytes);
  }

  /** Resolves with the first frame, received or to come, that fits. */
  waitFor(fits: (frame: AgentFrame) => boolean): Promise<AgentFrame> {
    return this.#until(() => this.frames.find(fits));
  }

  exited(process: number): Promise<ExitedFrame> {
    return this.waitFor((frame) => frame.type === 'exited' && frame.process === process) as Promise<ExitedFrame>;
  }

  /** Resolves with the answer to a request: `done`, `started`, `pong` or `error`. */
  answer(request: number): Promise<AgentFrame> {
    return this.waitFor((frame) => 'request' in frame && frame.request === request);
  }

  error(request: number): Promise<ErrorFrame> {
    return this.waitFor((frame) => frame.type === 'error' && frame.request === request) as Promise<ErrorFrame>;
  }

  /** The connection of a stream, paused. */
  stream(process: number, stream: StreamName): Promise<Socket> {
    return this.#until(() => this.#streams.get(`${process} ${stream}`));
  }

  /** Reads a stream until it has brought `text`. `output` reads the rest. */
  async outputUpTo(process: number, stream: StreamName, text: string): Promise<string> {
    const socket = await this.stream(process, stream);
    let seen = '';
    while (!seen.includes(text)) {
      const chunk = socket.read() as Buffer | null;
      if (chunk) seen += chunk.toString();
      else if (socket.readableEnded) throw new Error(`the stream ended with ${JSON.stringify(seen)}`);
      else await Promise.race([once(socket, 'readable'), once(socket, 'end')]);
    }
    return seen;
  }

  /** Reads a stream to its end. */
  async output(process: number, stream: StreamName): Promise<string> {
    const chunks: Buffer[] = [];
    for await (const chunk of await this.stream(process, stream)) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString();
  }

  /** Waits until the agent has closed the control connection. */
  async end(): Promise<void> {
    await this.#until(() => this.closed || undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#beside) child.kill('SIGKILL');
    // A frozen agent would connect again.
    this.control?.write(encodeFrame({ type: 'shutdown', request: 0xffff }));
    for (const socket of this.#streams.values()) socket.destroy();
    if (this.#child && this.#child.exitCode === null && this.#child.signalCode === null) {
      await once(this.#child, 'exit');
    }
    this.control?.destroy();
    this.#server.close();
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
