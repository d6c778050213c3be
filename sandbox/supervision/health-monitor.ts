// Checks the health of a container while it runs: one check after the other, none while it is
// paused or saved.
import type { ContainerConfig, Health, HealthResult } from '../home/container-record.js';
import type { HealthCheck } from '../spec/health.js';
import { HealthProbe, type Prober } from './health-probe.js';
import { healthAfter, nextInterval } from './health-state.js';

/** setTimeout takes at most 2^31 - 1 ms. A longer delay would fire at once. */
const MAX_DELAY = 2 ** 31 - 1;

export interface HealthMonitorOptions {
  check: HealthCheck;
  /** What the checks before have found. */
  health: Health;
  /** Milliseconds since the start of the container. */
  age: number;
  /** Called with what each check has found. */
  onHealth: (health: Health) => void;
}

/** Checks one run of a container, until it is disposed of. */
export class HealthMonitor implements Disposable {
  readonly #run: Prober;
  readonly #config: ContainerConfig;
  readonly #check: HealthCheck;
  readonly #onHealth: (health: Health) => void;
  /** When the container was started, as performance.now(). */
  readonly #begin: number;
  #health: Health;
  #timer: NodeJS.Timeout | undefined;
  #probe: HealthProbe | undefined;
  /** A killed process that the guest has not told the end of. */
  #lingering: Promise<unknown> | undefined;
  #isHeld = false;
  #isOver = false;

  constructor(run: Prober, config: ContainerConfig, { check, health, age, onHealth }: HealthMonitorOptions) {
    this.#run = run;
    this.#config = config;
    this.#check = check;
    this.#health = health;
    this.#begin = performance.now() - age;
    this.#onHealth = onHealth;
    this.#wait();
  }

  /** Stops all timers while the guest is paused. Later they start from their beginning. */
  hold(isHeld: boolean): void {
    if (this.#isHeld === isHeld) return;
    this.#isHeld = isHeld;
    this.#probe?.hold(isHeld);
    if (isHeld) clearTimeout(this.#timer);
    else if (this.#probe === undefined) this.#wait();
  }

  /** Ends a check without a result, and begins no other while `act` runs. */
  async without<T>(act: () => Promise<T>): Promise<T> {
    const wasHeld = this.#isHeld;
    const probe = this.#probe;
    if (probe === undefined) this.hold(true);
    else {
      this.#isHeld = true;
      probe.cancel();
      // A paused guest ends nothing: nobody waits for it.
      if (!wasHeld) await probe.done;
    }
    try {
      return await act();
    } finally {
      if (!wasHeld) this.hold(false);
    }
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    clearTimeout(this.#timer);
    this.#probe?.cancel();
  }

  #age(): number {
    return performance.now() - this.#begin;
  }

  #wait(): void {
    if (this.#isOver || this.#isHeld) return;
    const delay = nextInterval(this.#health, this.#check, this.#age());
    this.#timer = setTimeout(() => this.#probeOnce(), Math.min(delay, MAX_DELAY));
  }

  async #probeOnce(): Promise<void> {
    const age = this.#age();
    if (this.#lingering !== undefined) {
      this.#found(unended(), age);
      this.#wait();
      return;
    }
    this.#probe = new HealthProbe(this.#run, this.#config, this.#check);
    const { result, lingering } = await this.#probe.done;
    this.#probe = undefined;
    this.#lingering = lingering;
    lingering?.then(() => {
      this.#lingering = undefined;
    });
    if (this.#isOver) return;
    if (result !== undefined) this.#found(result, age);
    this.#wait();
  }

  #found(result: HealthResult, age: number): void {
    this.#health = healthAfter(this.#health, result, this.#check, age);
    this.#onHealth(this.#health);
  }
}

/** Checks never overlap, whatever the guest does. */
function unended(): HealthResult {
  const now = new Date().toISOString();
  return { start: now, end: now, exitCode: -1, output: 'The check before has been killed, and has not ended' };
}
