// The capabilities of this process (capabilities(7)).
import { libcFunction } from '../../libc/index.js';

export const CAP_SETUID = 7;

/** `_LINUX_CAPABILITY_VERSION_3` */
const VERSION = 0x20080522;

const capget = libcFunction<[header: Uint32Array, data: Uint32Array]>('int capget(void *, void *)');

/** True if this process may use the capability, which is below 32. */
export function hasCapability(capability: number): boolean {
  // Twice `struct __user_cap_data_struct`: effective, permitted, inheritable.
  const data = new Uint32Array(6);
  if (capget(new Uint32Array([VERSION, 0]), data) !== 0) return false;
  return ((data[0] ?? 0) & (1 << capability)) !== 0;
}
