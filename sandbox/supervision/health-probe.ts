// One health check: its process, its output, its deadline. The guest is hostile: each wait for it
// has a deadline, and of its output no more is kept than Docker keeps.
import type { Socket } from 'node:net';
import { hasCode, messageOf } from '../../errors/index.js';
import type { ProcessSpec } from '../agent/protocol.js';
import { Deadline, REQUEST_TIMEOUT } from '../agent/responsiveness.js';
import { type Deferred, defer } from '../deferred.js';
import type { ContainerConfig, HealthResult } from '../home/container-record.js';
import { randomNumber } from '../random-number.js';
import type { StartedProcess } from '../run/container-run.js';
import type { GuestProcess } from '../run/guest-container.js';
import type { HealthCheck } from '../spec/health.js';

/** Bytes of output. */
const MAX_OUTPUT = 4096;
/** The exit code of a check that has none, as in Docker. */
const NO_CODE = -1;

/** Starts processes in the container. `ContainerRun` does. */
export interface Prober {
  exec(
    described: ProcessSpec,
    takeStreams: (process: Pick<GuestProcess, 'stream'>) => Promise<void>,
  ): Promise<Pick<StartedProcess, 'exited' | 'killGroup'>>;
}

/** What became of a check. */
export interface Probed {
  /** Undefined if it was cancelled, or the container has ended. */
  result: HealthResult | undefined;
  /** Settles with the process, if that has not died of SIGKILL in time. */
  lingering: Promise<unknown> | undefined;
}

export class HealthProbe {
  /** Never rejects. */
  readonly done: Promise<Probed>;
  readonly #check: HealthCheck;
  readonly #start = new Date().toISOString();
  readonly #output = new ProbeOutput();
  readonly #cancelled = defer<'cancelled'>();
  #isCancelled = false;
  #isHeld = false;
  #deadline: Deadline | undefined;

  constructor(run: Prober, config: ContainerConfig, check: HealthCheck) {
    this.#check = check;
    this.done = this.#run(run, config).finally(() => {
      this.#deadline?.stop();
      this.#output[Symbol.dispose]();
    });
  }

  /** Kills the process. */
  cancel(): void {
    this.#isCancelled = true;
    this.#cancelled.resolve('cancelled');
  }

  /** Stops the deadline while the guest is paused. Later it starts from its beginning. */
  hold(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (isHeld) this.#deadline?.stop();
    else this.#deadline?.start();
  }

  async #run(run: Prober, config: ContainerConfig): Promise<Probed> {
    let process: Awaited<ReturnType<Prober['exec']>>;
    try {
      process = await run.exec(processSpec(config, this.#check), (started) => this.#output.take(started));
    } catch (error) {
      const result = hasCode(error, 'not-running') ? undefined : this.#result(NO_CODE, messageOf(error));
      return { result, lingering: undefined };
    }
    const exit = process.exited.then(
      ({ code, signal = 0 }) => code ?? 128 + signal,
      // The machine has ended.
      () => undefined,
    );
    const passed = this.#within(this.#check.timeout);
    const end = await Promise.race([exit, passed, this.#cancelled.promise]);
    if (end === 'passed' || end === 'cancelled') {
      process.killGroup();
      const isGone = (await Promise.race([exit, this.#within(REQUEST_TIMEOUT)])) !== 'passed';
      return { result: this.#result(NO_CODE, this.#tooLong()), lingering: isGone ? undefined : exit };
    }
    if (end === undefined) return { result: undefined, lingering: undefined };
    // What it has left in the background may have its output too.
    await Promise.race([this.#output.ended, passed, this.#cancelled.promise]);
    return { result: this.#result(end, this.#output.text), lingering: undefined };
  }

  /** Resolves once so many milliseconds have passed in which the guest was not paused. */
  #within(milliseconds: number): Promise<'passed'> {
    const passed = defer<'passed'>();
    this.#deadline?.stop();
    this.#deadline = new Deadline(milliseconds, () => passed.resolve('passed'));
    if (!this.#isHeld) this.#deadline.start();
    return passed.promise;
  }

  #tooLong(): string {
    const { text } = this.#output;
    return `Health check exceeded timeout (${this.#check.timeout / 1000}s)${text === '' ? '' : `: ${text}`}`;
  }

  #result(exitCode: number, output: string): HealthResult | undefined {
    if (this.#isCancelled) return undefined;
    return { start: this.#start, end: new Date().toISOString(), exitCode, output };
  }
}

function processSpec({ env, cwd, user }: ContainerConfig, { argv }: HealthCheck): ProcessSpec {
  return { id: randomNumber(1, 2 ** 32), argv, env, cwd, user };
}

/** The beginning of stdout and stderr together. The rest is read and dropped. */
class ProbeOutput implements Disposable {
  readonly ended: Promise<unknown>;
  readonly #ends: readonly Deferred<void>[] = [defer<void>(), defer<void>()];
  readonly #chunks: Buffer[] = [];
  readonly #streams: Socket[] = [];
  readonly #over = defer<void>();
  #length = 0;
  #isCut = false;
  #isOver = false;

  constructor() {
    this.ended = Promise.all(this.#ends.map(({ promise }) => promise));
  }

  /** As Docker shows it: three dots stand for what was dropped. */
  get text(): string {
    return `${Buffer.concat(this.#chunks)}${this.#isCut ? '...' : ''}`;
  }

  /** Resolves once it takes no more. */
  take(process: Pick<GuestProcess, 'stream'>): Promise<void> {
    for (const [index, name] of (['stdout', 'stderr'] as const).entries()) {
      process.stream(name).then((stream) => {
        this.#streams.push(stream);
        if (this.#isOver) stream.destroy();
        stream.on('data', (chunk: Buffer) => this.#add(chunk));
        stream.once('close', () => this.#ends[index]?.resolve());
        stream.once('end', () => {
          this.#ends[index]?.resolve();
          stream.destroy();
        });
        stream.resume();
      });
    }
    return this.#over.promise;
  }

  #add(chunk: Buffer): void {
    const kept = chunk.subarray(0, MAX_OUTPUT - this.#length);
    this.#length += kept.length;
    this.#isCut ||= kept.length < chunk.length;
    if (kept.length > 0) this.#chunks.push(Buffer.from(kept));
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    this.#over.resolve();
    for (const stream of this.#streams) stream.destroy();
  }
}
