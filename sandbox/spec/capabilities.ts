// The capabilities of a container, by Docker's rules (moby: oci/caps, TweakCapabilities).
import { CAPABILITIES, type Capability } from '../agent/protocol.js';
import { SandboxError } from '../errors.js';

/** Docker's default set (moby: oci/caps, DefaultCapabilities). */
export const DEFAULT_CAPABILITIES: readonly Capability[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FSETID',
  'FOWNER',
  'MKNOD',
  'NET_RAW',
  'SETGID',
  'SETUID',
  'SETFCAP',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'SYS_CHROOT',
  'KILL',
  'AUDIT_WRITE',
];

const ALL = 'ALL';

function parse(name: string, option: string): Capability | typeof ALL {
  const upper = name.toUpperCase();
  if (upper === ALL) return ALL;
  const short = upper.replace(/^CAP_/, '') as Capability;
  if (CAPABILITIES.includes(short)) return short;
  throw new SandboxError('bad-spec', `invalid ${option}: unknown capability: '${name}'`);
}

/**
 * The capabilities of a container's bounding set. Names are those of capabilities(7) in any case,
 * with or without `CAP_`, or `ALL`. Adding `ALL` gives all but the dropped ones; dropping `ALL`
 * gives only the added ones.
 *
 * @throws SandboxError `bad-spec` for an unknown name
 */
export function resolveCapabilities(add: readonly string[] = [], drop: readonly string[] = []): Capability[] {
  const added = add.map((name) => parse(name, 'CapAdd'));
  const dropped = drop.map((name) => parse(name, 'CapDrop'));
  const kept = (names: readonly Capability[]) => names.filter((name) => !dropped.includes(name));
  if (added.includes(ALL)) return kept(CAPABILITIES);
  const base = dropped.includes(ALL) ? [] : kept(DEFAULT_CAPABILITIES);
  return CAPABILITIES.filter((name) => base.includes(name) || added.includes(name));
}
