// Signals by name or number, as kill(1) and Docker read them.
import { constants } from 'node:os';
import { SandboxError } from '../errors.js';

/** `KILL`, `SIGKILL`, `RTMIN+3`, or a number of 1 to 64. */
export type Signal = string | number;

/**
 * The number of `KILL`, `SIGKILL`, `RTMIN+3` or `9`.
 * @throws SandboxError `bad-spec`
 */
export function signalNumber(signal: Signal): number {
  const name = String(signal).toUpperCase().replace(/^SIG/, '');
  const realtime = /^RTM(IN|AX)(?:([+-])(\d{1,2}))?$/.exec(name);
  let number = Number.NaN;
  if (/^\d{1,2}$/.test(name)) number = Number(name);
  else if (realtime !== null) number = realtimeSignal(realtime);
  else number = constants.signals[`SIG${name}` as NodeJS.Signals] ?? Number.NaN;
  if (number >= 1 && number <= 64) return number;
  throw new SandboxError('bad-spec', `invalid signal: ${signal}`);
}

/** Counted as by Docker and kill(1): without the two signals that the C library reserves. */
function realtimeSignal([, end, sign, digits = '0']: readonly string[]): number {
  const from = end === 'IN' ? 34 : 64;
  const distance = Number(digits);
  const number = sign === '-' ? from - distance : from + distance;
  return number >= 34 ? number : Number.NaN;
}
