// What a configuration may not ask for, because a container in a machine would not have it. What is neither
// refused here nor translated is harmless in a machine: docs/engines.md says why.
import type { OciConfig, OciResources } from './config.js';
import { OciError } from './oci-error.js';

type Linux = OciConfig['linux'];

/** Namespaces that each container in a machine has of its own. */
const ALWAYS_NEW = ['pid', 'ipc', 'uts'];
/** Those of other containers of the machine. */
const JOINABLE = ['network', 'ipc', 'uts', 'pid'];
const NAMESPACES = [...ALWAYS_NEW, 'mount', 'cgroup', 'network'];

/** Those that each container has. */
const DEVICES: ReadonlySet<string> = new Set([
  ...['/dev/null', '/dev/zero', '/dev/full', '/dev/random', '/dev/urandom', '/dev/tty', '/dev/console', '/dev/ptmx'],
]);

/** Weights of a device are relative to other containers, of which the machine has none. */
const HARMLESS_BLOCK_IO: ReadonlySet<string> = new Set(['weight', 'leafWeight', 'weightDevice']);

/** @throws OciError that names what is not supported */
export function refuse({ linux }: OciConfig): void {
  refuseNamespaces(linux);
  refuseFiles(linux);
  refuseResources(linux.resources ?? {});
}

function refuseNamespaces({ namespaces, uidMappings, gidMappings }: Linux): void {
  const given = namespaces ?? [];
  const isMapped = (uidMappings ?? []).length + (gidMappings ?? []).length > 0;
  if (isMapped || given.some(({ type }) => type === 'user')) throw new OciError('user namespaces are not supported');
  const unknown = given.find(({ type }) => !NAMESPACES.includes(type));
  if (unknown !== undefined) throw new OciError(`${unknown.type} namespaces are not supported`);
  for (const type of ALWAYS_NEW) {
    if (!given.some((each) => each.type === type)) throw new OciError(`the host's ${type} namespace is not supported`);
  }
  const joined = given.find(({ type, path }) => !JOINABLE.includes(type) && path);
  if (joined !== undefined) throw new OciError(`joining another container's ${joined.type} namespace is not supported`);
}

function refuseFiles({ devices, maskedPaths, readonlyPaths, rootfsPropagation, personality }: Linux): void {
  const device = devices?.find(({ path }) => !DEVICES.has(path));
  if (device !== undefined) throw new OciError(`device ${device.path} is not supported`);
  for (const [field, paths] of Object.entries({ maskedPaths, readonlyPaths })) {
    const other = paths?.find((path) => !/^\/(?:proc|sys)\//.test(path) || path.includes('/..'));
    if (other !== undefined)
      throw new OciError(`${field}: ${other} is not supported: only paths of /proc and /sys are`);
  }
  if (/shared/.test(rootfsPropagation ?? '')) throw new OciError('rootfsPropagation: shared is not supported');
  const { domain = 'LINUX' } = personality ?? {};
  if (domain !== 'LINUX') throw new OciError(`personality ${domain} is not supported`);
}

/** @throws OciError that names what is not supported */
export function refuseResources({ memory, cpu, blockIO, network, rdma, unified }: OciResources): void {
  const asked: Record<string, unknown> = {
    'memory.disableOOMKiller': memory?.disableOOMKiller,
    'cpu.cpus': cpu?.cpus,
    'cpu.mems': cpu?.mems,
    'cpu.realtimeRuntime': cpu?.realtimeRuntime,
    'cpu.realtimePeriod': cpu?.realtimePeriod,
    'network.classID': network?.classID,
    'network.priorities': network?.priorities?.length,
    rdma: Object.keys(rdma ?? {}).length,
    unified: Object.keys(unified ?? {}).length,
  };
  for (const [name, value] of Object.entries(blockIO ?? {})) {
    if (!HARMLESS_BLOCK_IO.has(name)) asked[`blockIO.${name}`] = Array.isArray(value) ? value.length : value;
  }
  const found = Object.entries(asked).find(([, value]) => Boolean(value));
  if (found !== undefined) throw new OciError(`resources.${found[0]} is not supported`);
}
