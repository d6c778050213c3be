// Parsers of resource limits, disk rates and kernel parameters, in Docker's forms.
import type { DeviceRate, Rlimit } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';

/**
 * A parser of the rate of one disk (`/dev/vda:1mb`), of the mounts (`shares:1mb`) or of each (`1mb`).
 * @throws UsageError
 */
export function rate(of: DeviceRate['of'], parse: (text: string, flag: string) => number) {
  return (text: string, flag: string): DeviceRate => {
    const [, device, amount = ''] = /^(?:(\/[^:]*|shares):)?(.*)$/s.exec(text) ?? [];
    const rate = parse(amount, flag);
    if (rate < 1) throw new UsageError(`invalid argument '${text}' for ${flag}: the rate must be at least 1`);
    return device === undefined ? { of, rate } : { device, of, rate };
  };
}

/** Name and value of a kernel parameter. @throws UsageError */
export function parseSysctl(text: string, flag: string): [name: string, value: string] {
  const equals = text.indexOf('=');
  if (equals < 1) throw new UsageError(`invalid argument '${text}' for ${flag}: expected NAME=VALUE`);
  return [text.slice(0, equals), text.slice(equals + 1)];
}

/**
 * The limit of `nofile=1024:4096`, `core=0` (soft and hard), `memlock=-1` or `memlock=unlimited`
 * (docker/go-units, ParseUlimit).
 * @throws UsageError
 */
export function parseUlimit(text: string, flag: string): Rlimit {
  const match = /^([a-z]+)=(-1|unlimited|\d+)(?::(-1|unlimited|\d+))?$/.exec(text);
  const [, name, soft = '', hard = soft] = match ?? [];
  if (name === undefined) {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected NAME=SOFT[:HARD] such as nofile=1024:4096`);
  }
  const value = (word: string) => (word === '-1' || word === 'unlimited' ? 'unlimited' : Number(word));
  return { name: name as Rlimit['name'], soft: value(soft), hard: value(hard) };
}
