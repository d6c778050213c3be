// --log-opt, with the options of Docker's json-file driver.
import type { LogLimits } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { parseSize } from './size.js';

const DEFAULTS: LogLimits = { maxSize: 10_000_000, maxFiles: 3 };

/** The limits, with `max-size=SIZE` or `max-file=N` applied. @throws UsageError */
export function parseLogOption(text: string, flag: string, limits: LogLimits = DEFAULTS): LogLimits {
  const [name, value = ''] = text.split(/=(.*)/s, 2);
  if (name === 'max-size') {
    const maxSize = parseSize(value, `${flag} max-size`);
    if (maxSize > 0) return { ...limits, maxSize };
  }
  if (name === 'max-file' && /^[1-9]\d{0,3}$/.test(value)) return { ...limits, maxFiles: Number(value) };
  throw new UsageError(`invalid argument '${text}' for ${flag}: expected max-size=SIZE or max-file=N, each above 0`);
}
