// A companion of a machine process: a program that the machine needs beside it, such as QEMU. The
// owner of the machine starts it in a jail of its own, with descriptors and nothing else of the host.
// Its launcher waits for a line in a pipe whose other end the machine process has: the jail is made
// while the machine process loads, and a companion that is not needed never runs.
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { hasLauncher } from '../../jail/launcher.js';
import { encodeFilter } from '../../seccomp/bpf.js';
import * as libc from '../../vmm/host/libc.js';
import type { CompanionEnd } from '../../vmm/machine.js';
import type { JailReport } from '../jail-report.js';
import { pace } from '../paced.js';
import { type CompanionProgram, FIRST_COMPANION_FD, freeCompanion, jailedCompanion } from './jail.js';
import { idsOf, readReport } from './machine-process.js';

/** Bytes of stderr that are kept to explain how it ended. */
const KEPT_STDERR = 4096;

export interface CompanionOptions {
  /** Read end of a pipe: a line lets the companion run, the end of file ends it before. */
  start: number;
  stdout: number;
  /** Its other descriptors, numbered from {@link FIRST_COMPANION_FD} on. */
  descriptors: readonly number[];
  /** Default true, if there is a launcher. */
  isJailed?: boolean;
}

/** Disposing of it kills it. The caller may close the descriptors once it is constructed. */
export class Companion implements Disposable {
  /** What a person calls it. */
  readonly name: string;
  /** What keeps it from the host. Undefined without a jail, and if the launcher fails. */
  readonly report: Promise<JailReport | undefined>;
  /** Resolves when it has ended and its files are closed. */
  readonly ended: Promise<CompanionEnd>;
  readonly #child: ChildProcess;
  /** Of the program. The launcher may be another process. */
  #programPid: number | undefined;

  constructor(program: CompanionProgram, { start, stdout, descriptors, isJailed = true }: CompanionOptions) {
    this.name = program.name;
    const inJail = isJailed && hasLauncher();
    const [command = '', ...words] = inJail ? jailedCompanion(program, descriptors.length) : freeCompanion(program);
    const filter = inJail && program.filter !== undefined ? fileOf(encodeFilter(program.filter)) : undefined;
    const ofLauncher = inJail ? ['pipe' as const, ...(filter === undefined ? [] : [filter])] : [];
    // In a session of its own: Ctrl-C on the terminal is for the process in the guest.
    const child = spawn(command, words, {
      stdio: ['ignore', stdout, 'pipe', start, ...descriptors, ...ofLauncher],
      detached: true,
      env: inJail ? {} : { PATH: process.env.PATH },
    });
    if (filter !== undefined) closeSync(filter);
    this.#child = child;
    if (child.stderr !== null) pace(child.stderr);
    let said = '';
    child.stderr?.on('data', (bytes: Buffer) => {
      said = (said + bytes.toString('latin1')).slice(-KEPT_STDERR);
    });
    // The launcher may end before the program that it started.
    child.once('exit', () => this.#killGroup());
    this.ended = new Promise((resolve) => {
      child.once('error', ({ message }) => resolve({ outcome: message, said: '' }));
      // Follows the last byte of stderr, which only the program has.
      child.once('close', (code, signal) => resolve(describeEnd(code, signal, without(said, program.complaint))));
    });
    const report: unknown = inJail ? child.stdio[FIRST_COMPANION_FD + descriptors.length] : undefined;
    this.report = report instanceof Socket ? this.#readReport(report) : Promise.resolve(undefined);
  }

  async #readReport(pipe: Socket): Promise<JailReport | undefined> {
    const report = await readReport(pipe);
    this.#programPid = report?.pid;
    return report?.jail;
  }

  /** Leads a process group. Undefined once it has ended: the number may be another's. */
  get pid(): number | undefined {
    const { pid, exitCode, signalCode } = this.#child;
    return exitCode === null && signalCode === null ? pid : undefined;
  }

  /** Process IDs of what was started and of the program, once the launcher has reported. */
  get pids(): number[] {
    return this.pid === undefined ? [] : idsOf(this.pid, this.#programPid);
  }

  /** Its end is reported as any other. */
  kill(): void {
    if (this.pid === undefined) return;
    // It may not have become the leader of its group yet.
    if (!this.#killGroup()) this.#child.kill('SIGKILL');
  }

  /** Returns false if there is nothing. */
  #killGroup(): boolean {
    const { pid } = this.#child;
    try {
      return pid !== undefined && process.kill(-pid, 'SIGKILL');
    } catch {
      return false;
    }
  }

  [Symbol.dispose](): void {
    this.kill();
    this.#child.unref();
    if (this.#child.stderr instanceof Socket) this.#child.stderr.unref();
  }
}

function fileOf(bytes: Uint8Array): number {
  const fd = libc.check(libc.memfd_create('tsvm-filter', libc.MFD_CLOEXEC), 'memfd_create');
  // At its start: the launcher reads on from there.
  writeSync(fd, bytes, 0, bytes.length, 0);
  return fd;
}

/** QEMU ends its complaint with no line feed: its next words follow at once. */
function without(stderr: string, complaint: string | undefined): string {
  return complaint === undefined ? stderr : stderr.replaceAll(complaint, '');
}

function describeEnd(exitCode: number | null, signal: NodeJS.Signals | null, stderr: string): CompanionEnd {
  const lines = stderr.replace(/[^\x20-\x7e\n]+/g, ' ').split('\n');
  const said = lines.filter((line) => line.trim() !== '' && !line.includes(': warning: ')).at(-1) ?? '';
  const outcome = signal === null ? `exit code ${exitCode}` : `signal ${constants.signals[signal]}`;
  return { ...(exitCode === null ? {} : { exitCode }), outcome, said: said.trim() };
}
