// passt(1) as the owner of a machine starts it: outside of the machine's jail, in the host's
// network. passt confines itself (namespaces, seccomp), and exits when its socket closes.
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { findProgram } from '../../programs/index.js';
import * as libc from '../host/libc.js';
import { MachineError, type NetworkSpec, type PasstSpec, type PublishedPorts } from '../machine.js';
import { type HostPorts, publishPorts } from './host-ports.js';
import { passtArguments } from './passt-arguments.js';

const PROGRAM = 'passt';
/** passt drops frames that do not fit into its socket. */
const SOCKET_BUFFER = 4 * 1024 * 1024;
/** Bytes of stderr that are kept to explain how passt ended. */
const KEPT_STDERR = 4096;

/** One passt at a time, with the same ports. Disposing of it ends passt. */
export class PasstProgram implements Disposable {
  readonly #spec: NetworkSpec;
  readonly #backEnd: PasstSpec;
  readonly #onEnd: (reason: string) => void;
  readonly #program: string;
  /** Reserved until passt has bound them. */
  #ports: HostPorts;
  #isFirst = true;
  #child: ChildProcess | undefined;
  #reason: string | undefined;

  /**
   * Reserves the ports of UDP. Starts nothing.
   * @param onEnd called with the reason when passt has ended by itself or by `kill`
   * @throws MachineError `no-network` if passt is not installed, or a port of the host is not
   *   available
   */
  constructor(spec: NetworkSpec, backEnd: PasstSpec, onEnd: (reason: string) => void) {
    this.#spec = spec;
    this.#backEnd = backEnd;
    this.#onEnd = onEnd;
    const program = findProgram(PROGRAM);
    if (program === undefined) throw new MachineError('no-network', 'passt is not installed: apt-get install passt');
    this.#program = program;
    this.#ports = publishPorts('udp', spec, backEnd);
  }

  /** The published ports of UDP, each with its address. */
  get ports(): PublishedPorts[] {
    return this.#ports.bound;
  }

  /** Process id of passt, which leads a process group; undefined while there is none. */
  get pid(): number | undefined {
    // Once it is reaped, the number may be another process's.
    const { pid, exitCode, signalCode } = this.#child ?? {};
    return exitCode === null && signalCode === null ? pid : undefined;
  }

  /**
   * Starts passt, after the previous one has ended.
   * @returns the machine's end of the socket, non-blocking. The caller owns it.
   * @throws MachineError `no-network` if a port is not available any more; `host`
   */
  start(): number {
    if (this.#child !== undefined) throw new MachineError('bad-state', 'passt runs already');
    if (!this.#isFirst) {
      this.served();
      this.#ports = publishPorts('udp', this.#spec, { ...this.#backEnd, ports: this.#ports.chosen });
    }
    this.#isFirst = false;
    this.#reason = undefined;
    const [ours, theirs] = libc.createSocketPair();
    libc.fcntl(ours, libc.F_SETFL, libc.O_RDWR | libc.O_NONBLOCK);
    for (const fd of [ours, theirs]) setSendBuffer(fd);
    try {
      this.#child = this.#spawn(theirs);
      return ours;
    } catch (error) {
      libc.close(ours);
      throw error;
    } finally {
      libc.close(theirs);
    }
  }

  #spawn(socket: number): ChildProcess {
    const args = passtArguments(this.#spec, this.#backEnd, this.#ports.chosen);
    // In a session of its own: Ctrl-C on the terminal is for the process in the guest.
    const child = spawn('setpriv', ['--pdeathsig', 'KILL', this.#program, ...args], {
      stdio: ['ignore', 'ignore', 'pipe', socket],
      detached: true,
      env: { PATH: process.env.PATH },
    });
    let stderr = '';
    child.stderr?.on('data', (bytes: Buffer) => {
      stderr = (stderr + bytes.toString('latin1')).slice(-KEPT_STDERR);
    });
    child.on('error', () => {});
    if (child.pid === undefined) throw new MachineError('host', 'cannot start setpriv: install util-linux');
    child.on('close', (code, signal) => {
      if (this.#child !== child) return;
      this.#child = undefined;
      const how = signal === null ? `exit code ${code}` : `signal ${constants.signals[signal]}`;
      this.#onEnd(this.#reason ?? `passt ended (${how})${lastWords(stderr)}`);
    });
    return child;
  }

  /** passt serves: it has bound its ports. */
  served(): void {
    this.#ports[Symbol.dispose]();
  }

  /** Kills passt. `onEnd` gets this reason. */
  kill(reason: string): void {
    this.#reason ??= reason;
    this.#child?.kill('SIGKILL');
  }

  [Symbol.dispose](): void {
    const child = this.#child;
    this.#child = undefined;
    child?.kill('SIGKILL');
    child?.stderr?.destroy();
    this.#ports[Symbol.dispose]();
  }
}

function setSendBuffer(fd: number): void {
  const size = Int32Array.of(SOCKET_BUFFER);
  // Root can exceed the host's limit; other users get as much as the host allows.
  if (libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUFFORCE, size, 4) === 0) return;
  libc.setsockopt(fd, libc.SOL_SOCKET, libc.SO_SNDBUF, size, 4);
}

/** passt's last line of output, without its messages about a missing system log. */
function lastWords(said: string): string {
  const lines = said
    .replace(/[^\x20-\x7e\n]+/g, ' ')
    .trim()
    .split('\n')
    .filter((line) => line !== '' && !/syslog|^Don't run as root/.test(line));
  return lines.length === 0 ? '' : `: ${lines.pop()}`;
}
