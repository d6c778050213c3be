// The scope of systemd that a container is to be in: `cgroupsPath` of an engine with the systemd driver.
import { OciError } from './oci-error.js';

/** Of systemd.unit(5), without the escapes of `/` and the like at the start. */
const NAME = /^[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*$/;
/** Characters of a unit's name (systemd.unit(5)). */
const LONGEST = 255;
/** The slice of all others. */
const ROOT = '-.slice';

export interface Scope {
  unit: string;
  slice: string;
}

/**
 * Reads `SLICE:PREFIX:NAME`, which is `PREFIX-NAME.scope` in SLICE. As with runc, an empty slice is
 * `system.slice`, an empty prefix leaves the name, and without a path the runtime names the scope.
 * @param container the engine's name of the container
 * @throws OciError
 */
export function readScope(cgroupsPath: string | null | undefined, container: string): Scope {
  const path = cgroupsPath || `:tsvm:${container}`;
  const [slice = '', prefix = '', name, ...more] = path.split(':');
  if (name === undefined || more.length > 0) {
    throw new OciError(
      `expected cgroupsPath to be of format "slice:prefix:name" for systemd cgroups, got "${path}" instead`,
    );
  }
  const before = prefix === '' || name === '' ? '' : `${prefix}-`;
  return {
    unit: checked(`${before}${name}`, '.scope'),
    slice: slice === '' ? 'system.slice' : slice === ROOT ? ROOT : checked(slice.replace(/\.slice$/, ''), '.slice'),
  };
}

/** Path of its cgroup below systemd's own, through the slices that its slice is in (systemd.slice(5)). */
export function cgroupOf({ unit, slice }: Scope): string {
  const words = slice === ROOT ? [] : slice.replace(/\.slice$/, '').split('-');
  return `/${[...words.map((_, last) => `${words.slice(0, last + 1).join('-')}.slice`), unit].join('/')}`;
}

function checked(name: string, type: string): string {
  const unit = `${name}${type}`;
  if (NAME.test(name) && unit.length <= LONGEST && !(type === '.scope' && name.endsWith('.slice'))) return unit;
  throw new OciError(`cgroupsPath: ${JSON.stringify(unit)} is no name of a ${type.slice(1)} of systemd`);
}
