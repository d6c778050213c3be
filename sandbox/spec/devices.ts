// Devices of the guest's kernel in a container: their type, their check, and their translation for
// the agent.
import { DEVICE_ACCESS, type DeviceSpec } from '../agent/protocol.js';
import { SandboxError } from '../errors.js';

/** A device of the guest's kernel, given to the container. */
export interface Device {
  /** Absolute path in the guest's `/dev`: `/dev/fuse`. */
  path: string;
  /** Absolute path in the container. Default: `path`. */
  target?: string;
  /**
   * What the container may do: `r` read, `w` write, `m` make files of the device. Default `rwm`.
   */
  access?: string;
}

/** The agent takes no more. */
const MAX_DEVICES = 64;

/** Returns true for what Docker takes as the permissions of a device. */
export function isDeviceAccess(text: string): boolean {
  return /^[rwm]{1,3}$/.test(text) && new Set(text).size === text.length;
}

function isPath(path: string): boolean {
  return (
    /^\/.*[^/]$/s.test(path) &&
    !path.includes('\0') &&
    Buffer.byteLength(path) <= 4095 &&
    !path.split('/').some((name) => name === '..' || name === '.')
  );
}

/** @throws SandboxError `bad-spec` */
export function checkDevices(devices: readonly Device[] = []): void {
  const refuse = (message: string) => {
    throw new SandboxError('bad-spec', message);
  };
  if (devices.length > MAX_DEVICES) refuse(`more than ${MAX_DEVICES} devices`);
  for (const { path, target = path, access = 'rwm' } of devices) {
    if (!isPath(path) || !path.startsWith('/dev/')) {
      refuse(`invalid device '${path}': a path below /dev of the guest is needed, such as /dev/fuse`);
    }
    if (!isPath(target)) refuse(`invalid device path '${target}': an absolute path is needed`);
    if (!isDeviceAccess(access)) refuse(`invalid access '${access}' of device ${path}: letters of rwm are needed`);
  }
}

/** The devices in the agent's words. */
export function deviceSpecs(devices: readonly Device[] = []): DeviceSpec[] {
  return devices.map(({ path, target = path, access = 'rwm' }) => ({
    ...{ path, target },
    access: DEVICE_ACCESS.filter((name) => access.includes(name.charAt(0))),
  }));
}
