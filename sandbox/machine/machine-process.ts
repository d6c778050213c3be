// A machine process: its start, in a jail or without one, and what goes to it.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync } from 'node:fs';
import { Socket } from 'node:net';
import type { Readable } from 'node:stream';
import { hasLauncher, JAIL_LAUNCHER } from '../../jail/launcher.js';
import { userRange } from '../../jail/user-range.js';
import { passDescriptors } from '../../libc/pass-descriptors.js';
import type { MachineRequest } from '../../vmm/machine.js';
import { SandboxError } from '../errors.js';
import { type JailReport, type LauncherReport, parseJailReport } from '../jail-report.js';
import { pace } from '../paced.js';
import { descriptorOf, filesLine, isRead, lineOf, tryPass } from './control-channel.js';
import { type JailNeeds, jailedCommand, REPORT_FD } from './jail.js';
import type { MachineFiles, Portion } from './machine-files.js';
import { openKvm } from './open-kvm.js';

/** Descriptors of a child process. */
const STDERR = 2;
const CONTROL = 3;

/** Milliseconds for the launcher to pass folders, which takes it 6: a file system may stand still. */
const PASSING = 60_000;
/** Milliseconds for which a process that was killed keeps this one from ending: longer than anybody waits for it. */
const ENDING = 15_000;

export interface ProcessOptions {
  /** Path of the machine's program. */
  program: string;
  /** KVM is to be probed, whatever an earlier probe found. */
  probes: boolean;
  /** Undefined: no jail. */
  needs: JailNeeds | undefined;
  onControl(bytes: Buffer): void;
  onStderr(bytes: Buffer): void;
  /** The control socket has ended: the process exits. */
  onControlEnd(): void;
  /** The process cannot be started. */
  onError(error: Error): void;
  /** The process has exited, and its files are closed. Its last bytes of stderr may still come. */
  onExit(): void;
  /** The process has exited, and its last bytes have come. */
  onClose(code: number | null, signal: string | null): void;
}

export class MachineProcess implements Disposable {
  /** Undefined: no jail. */
  readonly needs: JailNeeds | undefined;
  /** What the launcher reports. Undefined without a jail, and if the launcher fails. */
  readonly report: Promise<JailReport | undefined>;
  readonly #child: ChildProcess;
  readonly #stderr: Readable;
  readonly #control: Socket;
  #pid: number | undefined;

  constructor({ program, probes, needs, ...on }: ProcessOptions) {
    const kvm = openKvm(probes);
    const isJailed = needs !== undefined && hasLauncher();
    this.needs = isJailed ? needs : undefined;
    const [command = '', ...words] = isJailed
      ? jailedCommand(program, [kvm.argument], needs)
      : [process.execPath, program, kvm.argument];
    // In a session of its own: Ctrl-C on the terminal is for the process in the guest, not for the
    // machine.
    this.#child = spawn(command, words, {
      stdio: [
        ...(['ignore', 'ignore', 'pipe', 'pipe', kvm.fd ?? 'ignore'] as const),
        ...(isJailed ? ['pipe' as const, ...needs.shares.map(({ fd }) => fd)] : []),
      ],
      detached: true,
      env: { PATH: process.env.PATH },
    });
    if (kvm.fd !== undefined) closeSync(kvm.fd);
    this.#child.on('error', (error) => on.onError(error));
    // 'close' follows the last byte of stderr and of the control socket. 'exit' may come before
    // them.
    this.#child.on('close', (code, signal) => on.onClose(code, signal));
    const stdio: readonly unknown[] = this.#child.stdio;
    const [stderr, control, report] = [stdio[STDERR], stdio[CONTROL], stdio[REPORT_FD]];
    if (!(stderr instanceof Socket && control instanceof Socket)) throw new TypeError('the child process has no pipes');
    this.#stderr = stderr;
    this.#control = control;
    for (const each of [stderr, control]) pace(each);
    stderr.on('data', (chunk: Buffer) => on.onStderr(chunk));
    control.on('data', (chunk: Buffer) => on.onControl(chunk));
    control.on('end', () => on.onControlEnd());
    // A write to a process that has just died fails. The death itself is reported by 'close'.
    control.on('error', () => {});
    // The launcher may end before the process that it started. That one has the control socket.
    let isOpen = true;
    let runs = true;
    control.once('close', () => {
      isOpen = false;
      if (!runs) on.onExit();
    });
    this.#child.once('exit', () => {
      runs = false;
      this.#killGroup();
      if (!isOpen) on.onExit();
    });
    this.#pid = isJailed ? undefined : this.#child.pid;
    this.report = report instanceof Socket ? this.#readReport(report) : Promise.resolve(undefined);
  }

  /** Process ID of what was started, the launcher if there is a jail. It leads a process group. */
  get groupPid(): number | undefined {
    return this.#child.pid;
  }

  /** Process ID of the machine process. Undefined before the launcher has reported. */
  get pid(): number | undefined {
    return this.#pid;
  }

  /** Process IDs of what was started and of the machine process, once the launcher has reported. */
  get pids(): number[] {
    return idsOf(this.#child.pid, this.#pid);
  }

  async #readReport(pipe: Socket): Promise<JailReport | undefined> {
    const report = await readReport(pipe);
    this.#pid = report?.pid;
    return report?.jail;
  }

  write(request: MachineRequest): void {
    if (!this.#isEnded) this.#control.write(lineOf(request));
  }

  /** A write after the end would destroy the socket, whose close tells that the process is gone. */
  get #isEnded(): boolean {
    return this.#control.writableEnded;
  }

  /**
   * Sends files, before whatever is written later.
   * @throws SandboxError `state` if a folder cannot be confined; Error if the process is gone
   */
  async pass(files: MachineFiles): Promise<void> {
    if (this.#isEnded) throw new Error('the machine process was ended');
    // Descriptors do not go through the queue of Node.js.
    if (this.#control.writableLength > 0) await new Promise((resolve) => this.#control.write('', resolve));
    const hasRoot = this.needs !== undefined && (await this.report)?.files === 'namespace';
    for (const portion of hasRoot ? files.others : files.all) {
      passDescriptors(descriptorOf(this.#control), portion.descriptors, Buffer.from(filesLine(portion)));
    }
    for (const portion of hasRoot ? files.trees : []) await this.#passTrees(portion);
  }

  /** True if the process has read all that it was sent. */
  get isRead(): boolean {
    return isRead(this.#control);
  }

  /**
   * Sends a request with descriptors, at once.
   * @returns false if there is no room for it, or the process is gone
   */
  tryPass(request: MachineRequest, descriptors: readonly number[]): boolean {
    return !this.#isEnded && tryPass(this.#control, request, descriptors);
  }

  #passTrees(portion: Portion): Promise<void> {
    const first = CONTROL + 1;
    const fds = portion.areReadOnly.map((isReadOnly, index) => `${isReadOnly ? 'ro:' : ''}${first + index}`);
    const passer = spawn(JAIL_LAUNCHER, ['pass', String(CONTROL), filesLine(portion), ...fds], {
      stdio: ['ignore', 'ignore', 'pipe', descriptorOf(this.#control), ...portion.descriptors],
      env: {},
      timeout: PASSING,
      killSignal: 'SIGKILL',
    });
    let said = '';
    passer.stderr?.on('data', (chunk: Buffer) => {
      said = (said + chunk.toString('latin1')).slice(0, 200);
    });
    return new Promise((resolve, reject) => {
      passer.once('error', reject);
      passer.once('close', (code, signal) => {
        if (code === 0) return resolve();
        const what = `the launcher of jails was ended by ${signal}`;
        const why = signal === null ? said.replace(/[^\x20-\x7e]+/g, ' ').trim() : what;
        reject(new SandboxError('state', `a folder of the host cannot be confined for the machine: ${why}`));
      });
    });
  }

  /**
   * Kills the process and the programs that it started: one that is stopped outlives it.
   */
  kill(): void {
    const { pid, exitCode, signalCode } = this.#child;
    // The number of a process that is gone may be another's.
    if (pid === undefined || exitCode !== null || signalCode !== null) return;
    // It may not have become the leader of its group yet.
    if (!this.#killGroup()) this.#child.kill('SIGKILL');
  }

  /** Kills what the process started, also after its end. Returns false if there is nothing. */
  #killGroup(): boolean {
    const { pid } = this.#child;
    try {
      return pid !== undefined && process.kill(-pid, 'SIGKILL');
    } catch {
      return false;
    }
  }

  /** Kills the process, which may still be exiting when this returns. */
  [Symbol.dispose](): void {
    this.kill();
    // Its close tells when the process is gone. Nothing else may keep a process that waits for that, once
    // the launcher has ended.
    this.#control.end();
    setTimeout(() => this.#control.unref(), ENDING).unref();
    this.#stderr.destroy();
  }
}

/** Those that are known, each once: the launcher may have become the program. */
export function idsOf(...pids: (number | undefined)[]): number[] {
  return [...new Set(pids)].filter((pid) => pid !== undefined);
}

/** Resolves to undefined if the launcher fails. */
export async function readReport(pipe: Socket): Promise<LauncherReport | undefined> {
  const report = await readLine(pipe);
  const range = userRange();
  if (report === undefined || typeof range !== 'string') return report;
  return { ...report, jail: { ...report.jail, noUser: range } };
}

function readLine(pipe: Socket): Promise<LauncherReport | undefined> {
  return new Promise((resolve) => {
    let text = '';
    pipe.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
    });
    pipe.on('error', () => {});
    pipe.once('close', () => {
      try {
        resolve(parseJailReport(text));
      } catch {
        // The launcher has failed. Its end is reported by 'close'.
        resolve(undefined);
      }
    });
  });
}
