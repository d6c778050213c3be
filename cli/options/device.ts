// --device DEVICE[:PATH[:ACCESS]], in Docker's form.
import { type Device, isDeviceAccess } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';

/**
 * The device of `/dev/fuse`, `/dev/fuse:/dev/other`, `/dev/fuse:rw` or `/dev/fuse:/dev/other:rw`.
 * @throws UsageError
 */
export function parseDevice(text: string, flag: string): Device {
  const [path = '', ...rest] = text.split(':');
  const [second, third] = rest;
  const isAccess = second !== undefined && third === undefined && isDeviceAccess(second);
  const target = isAccess ? undefined : second;
  const access = isAccess ? second : third;
  if (
    rest.length > 2 ||
    !path.startsWith('/') ||
    (target !== undefined && !target.startsWith('/')) ||
    (access !== undefined && !isDeviceAccess(access))
  ) {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected DEVICE[:PATH[:ACCESS]], such as /dev/fuse`);
  }
  return { path, ...(target !== undefined && { target }), ...(access !== undefined && { access }) };
}
