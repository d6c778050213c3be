// The options of a container's health check, for `tsvm run` and `tsvm create`.
import type { ContainerSpec, HealthOptions } from '../../sandbox/internal.js';
import { type Declaration, text } from './declaration.js';
import { parseDuration } from './duration.js';
import { parseInteger } from './number.js';

export const HEALTH_OPTIONS: readonly Declaration<Pick<ContainerSpec, 'health' | 'noHealthcheck'>>[] = [
  {
    flags: '--health-cmd <COMMAND>',
    help: "check the container's health by this command",
    field: 'health',
    parse: part('command', text),
  },
  {
    flags: '--health-interval <DURATION>',
    help: 'time from the end of a check to the next one (default: 30s)',
    field: 'health',
    parse: part('interval', parseDuration),
  },
  {
    flags: '--health-timeout <DURATION>',
    help: 'time that a check may take (default: 30s)',
    field: 'health',
    parse: part('timeout', parseDuration),
  },
  {
    flags: '--health-retries <N>',
    help: 'failures in a row that make the container unhealthy (default: 3)',
    field: 'health',
    parse: part('retries', parseInteger),
  },
  {
    flags: '--health-start-period <DURATION>',
    help: 'time from the start in which failures do not count (default: 0s)',
    field: 'health',
    parse: part('startPeriod', parseDuration),
  },
  {
    flags: '--health-start-interval <DURATION>',
    help: 'time between checks until the first success in the start period (default: 5s)',
    field: 'health',
    parse: part('startInterval', parseDuration),
  },
  { flags: '--no-healthcheck', help: "do not run the image's health check", field: 'noHealthcheck' },
];

/** A parser of one field of the check. An undefined value is its default. */
function part<Field extends keyof HealthOptions>(
  field: Field,
  parse: (text: string, flag: string) => HealthOptions[Field] | undefined,
) {
  return (text: string, flag: string, before: HealthOptions = {}): HealthOptions | undefined => {
    const { [field]: _, ...others } = before;
    const value = parse(text, flag);
    if (value !== undefined) return { ...before, [field]: value };
    return Object.keys(others).length > 0 ? (others as HealthOptions) : undefined;
  };
}
