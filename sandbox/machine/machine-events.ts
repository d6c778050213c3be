// Reads what a machine process says over its control socket. A guest that has broken out of its
// machine says there what it likes: each event is checked here, before anything is done about it.
import { printableLine } from '../../printable/index.js';
import { JsonLines } from '../../vmm/json-lines.js';
import {
  type Accelerator,
  type Carried,
  type ConnectRequest,
  MAX_CONNECTS,
  MAX_REFUSALS,
  type MachineErrorCode,
  type MachineEvent,
  type MachineStatistics,
  type MachineTimes,
  type PortRequest,
  type ProbeResult,
  type Refusal,
  type RefusalReason,
} from '../../vmm/machine.js';

/** Bytes of a line. The longest has the end of a console: 16 KiB, each byte as `\u001b`. */
const MAX_LINE = 256 * 1024;
/** Characters of a message, and of a word such as an address. Longer ones are cut. */
const MAX_MESSAGE = 8192;
const MAX_WORD = 128;
const MAX_CONSOLE = 16 * 1024;
/** Names in a table of statistics. */
const MAX_NAMES = 128;

/** How often events may come: at most `most` at once, and one more each `every` milliseconds. */
interface Limit {
  most: number;
  every: number;
}
const ONCE: Limit = { most: 1, every: Number.POSITIVE_INFINITY };
const ALWAYS: Limit = { most: Number.POSITIVE_INFINITY, every: 1 };
/**
 * `joined`, `shared`, `saved` and `statistics` are answers: the client knows what it has asked for.
 */
const LIMITS: Record<MachineEvent['type'], Limit> = {
  ...{ kvm: ONCE, booted: ONCE, network: ONCE, probed: ONCE, stopped: ONCE, failed: ONCE },
  refused: { most: MAX_REFUSALS, every: Number.POSITIVE_INFINITY },
  ...{ joined: ALWAYS, shared: ALWAYS, saved: ALWAYS, statistics: ALWAYS },
  // The connector counts what it has not answered.
  ...{ connect: ALWAYS, arrivals: ALWAYS },
};

/** The words of a union, each once. */
const words = <T extends string>(all: Record<T, true>) => Object.keys(all) as T[];
const ACCELERATORS = words<Accelerator>({ kvm: true, tcg: true, uml: true });
const CARRIED = words<Carried>({ tcp: true, udp: true, ping: true });
const REASONS = words<RefusalReason>({
  ...({ malformed: true, spoofed: true, 'next-hop': true, closed: true, denied: true } as const),
  ...({ 'not-allowed': true, name: true, 'no-connection': true, limit: true } as const),
});
const CODES = words<MachineErrorCode>({
  ...({ 'no-kvm': true, 'kvm-permission': true, 'kvm-unusable': true, 'no-accelerator': true } as const),
  ...({ 'bad-kernel': true, 'bad-spec': true, 'no-network': true, 'guest-crash': true, host: true } as const),
  ...({ 'bad-state': true, 'bad-snapshot': true, unsupported: true } as const),
});

type Fields = Record<string, unknown>;

export class MachineEvents {
  readonly #lines = new JsonLines(MAX_LINE);
  /** The time, in milliseconds, up to which each kind of event has used its limit. */
  readonly #used = new Map<string, number>();

  /**
   * Yields the events that `chunk` completes.
   * @throws JsonLineError, RangeError for what no machine process of ours sends
   */
  *read(chunk: Uint8Array, now = performance.now()): Generator<MachineEvent, void, undefined> {
    for (const value of this.#lines.read(chunk)) {
      const event = readEvent(value);
      this.#count(event.type, now);
      yield event;
    }
  }

  /** Each event moves its time on by what one costs; no more than `most` of them lie ahead of now. */
  #count(type: MachineEvent['type'], now: number): void {
    const { most, every } = LIMITS[type];
    if (most === Number.POSITIVE_INFINITY) return;
    const cost = every === Number.POSITIVE_INFINITY ? 1 : every;
    const since = every === Number.POSITIVE_INFINITY ? 0 : now;
    const used = Math.max(this.#used.get(type) ?? since, since) + cost;
    if (used - since > most * cost) throw new RangeError(`too many events: ${type}`);
    this.#used.set(type, used);
  }
}

/** @throws RangeError for a value that is no event */
function readEvent(value: unknown): MachineEvent {
  const event = fields(value, 'event');
  switch (event.type) {
    case 'kvm':
    case 'probed':
      return { type: event.type, result: probeResult(event.result) };
    case 'booted': {
      const accel = oneOf(event.accel, ACCELERATORS, 'accelerator');
      return { type: 'booted', accel, ...optional('reason', event.reason, message), times: times(event.times) };
    }
    case 'statistics':
      return { type: 'statistics', statistics: statistics(event.statistics) };
    case 'network':
      return { type: 'network' };
    case 'connect':
      return { type: 'connect', asked: list(event.asked, 1, MAX_CONNECTS, 'asked').map(socketRequest) };
    case 'arrivals':
      return { type: 'arrivals', published: count(event.published, 'index') };
    case 'refused':
      return { type: 'refused', refusal: refusal(event.refusal) };
    case 'joined':
      return { type: 'joined', ...optional('error', event.error, message) };
    case 'shared':
      return { type: 'shared', ...optional('first', event.first, count), ...optional('error', event.error, message) };
    case 'saved': {
      const { error, isDiskFull } = event;
      return { type: 'saved', ...optional('error', error, message), ...optional('isDiskFull', isDiskFull, flag) };
    }
    case 'stopped': {
      const reason = oneOf(event.reason, ['shutdown', 'reset'] as const, 'reason');
      const counted = statistics(event.statistics);
      return { type: 'stopped', reason, statistics: counted, ...optional('console', event.console, lastConsole) };
    }
    case 'failed': {
      const code = oneOf(event.code, CODES, 'code');
      const said = message(event.message, 'message');
      return { type: 'failed', code, message: said, ...optional('console', event.console, lastConsole) };
    }
    default:
      throw new RangeError('an event of no known type');
  }
}

function probeResult(value: unknown): ProbeResult {
  const { usable, code, reason } = fields(value, 'result');
  const known = code === undefined ? {} : { code: oneOf(code, CODES, 'code') };
  return { usable: flag(usable, 'usable'), ...known, reason: message(reason, 'reason') };
}

function refusal(value: unknown): Refusal {
  const { reason, what, destination } = fields(value, 'refusal');
  return {
    reason: oneOf(reason, REASONS, 'reason'),
    what: word(what, 'what'),
    ...optional('destination', destination, word),
  };
}

function socketRequest(value: unknown): ConnectRequest | PortRequest {
  if (!Array.isArray(value) || value[1] !== 'vsock') return connectRequest(value);
  const [id, , port] = list(value, 3, 3, 'request');
  return [below(id, 2 ** 32, 'request'), 'vsock', below(port, 2 ** 32, 'port')];
}

function connectRequest(value: unknown): ConnectRequest {
  const [id, carried, guestPort, port, first, second, third, last] = list(value, 8, 8, 'request');
  const word32 = (each: unknown) => below(each, 2 ** 32, 'request');
  const word16 = (each: unknown) => below(each, 2 ** 16, 'port');
  const address = [word32(first), word32(second), word32(third), word32(last)] as const;
  return [word32(id), oneOf(carried, CARRIED, 'protocol'), word16(guestPort), word16(port), ...address];
}

function times(value: unknown): MachineTimes {
  const { processStarted, specReceived, vcpusStarted } = fields(value, 'times');
  return {
    processStarted: time(processStarted, 'processStarted'),
    specReceived: time(specReceived, 'specReceived'),
    vcpusStarted: time(vcpusStarted, 'vcpusStarted'),
  };
}

function statistics(value: unknown): MachineStatistics {
  const { exits, ioctls, refused, memory } = fields(value, 'statistics');
  return {
    exits: counts(exits, 'exits'),
    ioctls: counts(ioctls, 'ioctls'),
    ...optional('refused', refused, refusals),
    ...optional('memory', memory, (sizes) => ({ resident: count(fields(sizes, 'memory').resident, 'resident') })),
  };
}

function refusals(value: unknown): NonNullable<MachineStatistics['refused']> {
  const entries = Object.entries(counts(value, 'refused'));
  return Object.fromEntries(entries.map(([reason, number]) => [oneOf(reason, REASONS, 'reason'), number]));
}

function counts(value: unknown, what: string): Record<string, number> {
  const entries = Object.entries(fields(value, what));
  if (entries.length > MAX_NAMES) throw new RangeError(`${what} has more than ${MAX_NAMES} names`);
  return Object.fromEntries(entries.map(([name, number]) => [word(name, what), count(number, what)]));
}

function fields(value: unknown, what: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  throw new RangeError(`${what} is not an object`);
}

function list(value: unknown, least: number, most: number, what: string): unknown[] {
  if (Array.isArray(value) && value.length >= least && value.length <= most) return value;
  throw new RangeError(`${what} is not a list of ${least} to ${most}`);
}

function optional<K extends string, V>(
  name: K,
  value: unknown,
  read: (value: unknown, what: string) => V,
): { [name in K]?: V } {
  return (value === undefined ? {} : { [name]: read(value, name) }) as { [name in K]?: V };
}

function oneOf<T extends string>(value: unknown, all: readonly T[], what: string): T {
  const found = all.find((each) => each === value);
  if (found === undefined) throw new RangeError(`an unknown ${what}`);
  return found;
}

function text(value: unknown, what: string): string {
  if (typeof value === 'string') return value;
  throw new RangeError(`${what} is not text`);
}

/** One line. */
function message(value: unknown, what: string): string {
  return printableLine(text(value, what).slice(0, MAX_MESSAGE));
}

function word(value: unknown, what: string): string {
  return printableLine(text(value, what).slice(0, MAX_WORD));
}

/** The end of the console: its readers make it printable. */
function lastConsole(value: unknown, what: string): string {
  return text(value, what).slice(-MAX_CONSOLE);
}

function flag(value: unknown, what: string): boolean {
  if (typeof value === 'boolean') return value;
  throw new RangeError(`${what} is neither true nor false`);
}

function time(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new RangeError(`${what} is not a time`);
}

function below(value: unknown, limit: number, what: string): number {
  const number = count(value, what);
  if (number < limit) return number;
  throw new RangeError(`${what} is out of range`);
}

function count(value: unknown, what: string): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value;
  throw new RangeError(`${what} is not a count`);
}
