// The meaning of a request by PROTOCOL.md: absent fields have their defaults. The tests compare
// what the agent decodes with it.
import {
  CAPABILITIES,
  type Capability,
  type HostFrame,
  NAMESPACES,
  type ProcessRequest,
} from '../../../sandbox/agent/protocol.js';
import type { Understood } from './codec-program.js';

const DOCKER_CAPABILITIES: Capability[] = [
  'CHOWN',
  'DAC_OVERRIDE',
  'FOWNER',
  'FSETID',
  'KILL',
  'SETGID',
  'SETUID',
  'SETPCAP',
  'NET_BIND_SERVICE',
  'NET_RAW',
  'SYS_CHROOT',
  'MKNOD',
  'AUDIT_WRITE',
  'SETFCAP',
];

/** A set of capabilities as the agent tells it. */
const inOrder = (names: readonly Capability[] = []) => CAPABILITIES.filter((name) => names.includes(name));

function processWithDefaults(process: ProcessRequest): Understood {
  return {
    env: [],
    cwd: '/',
    user: '',
    groups: [],
    stdin: false,
    noNewPrivileges: false,
    rlimits: [],
    port: 1024,
    tool: false,
    exact: false,
    umask: 0o22,
    hookState: '',
    ...process,
    hooks: (process.hooks ?? []).map((hook) => ({ argv: [], env: [], timeout: 0, ...hook })),
    capabilities: inOrder(process.capabilities ?? DOCKER_CAPABILITIES),
    capabilitySets: process.capabilitySets && {
      permitted: inOrder(process.capabilitySets.permitted),
      effective: inOrder(process.capabilitySets.effective),
      inheritable: inOrder(process.capabilitySets.inheritable),
      ambient: inOrder(process.capabilitySets.ambient),
    },
  };
}

const NO_ADDRESSES = { addresses: [], gateways: [], routes: [] };

/** Fills in all defaults. */
export function withDefaults(frame: HostFrame): Understood {
  if (frame.type === 'process') return processWithDefaults(frame);
  if (frame.type === 'machine') {
    const { network, moreNetworks = [] } = frame;
    const more = moreNetworks.map((each) => ({ ...NO_ADDRESSES, ...each }));
    return {
      ...{ clock: 0, shares: false, ...frame },
      ...{ network: network && { ...NO_ADDRESSES, ...network }, moreNetworks: more },
    };
  }
  if (frame.type === 'signal') return { group: false, ...frame };
  if (frame.type === 'freeze') return { timeout: 5000, ...frame };
  if (frame.type === 'thaw') {
    const { network } = frame;
    return {
      entropy: '',
      clock: 0,
      ...frame,
      network: network && { ...NO_ADDRESSES, ...network },
      identities: frame.identities ?? [],
    };
  }
  if (frame.type !== 'container') return { ...frame };
  const off = { readonly: false, exec: false, suid: false, dev: false, copyUp: false };
  return {
    shmSize: 64 * 1024 * 1024,
    sysctls: [],
    privileged: false,
    init: false,
    processesOf: 0,
    ...frame,
    root: { tmpfsSize: 0, readonly: false, share: 0xffff_ffff, ...frame.root },
    tmpfs: (frame.tmpfs ?? []).map((mount) => ({ size: 0, mode: 0xffff, uid: 0, gid: 0, ...off, ...mount })),
    devices: frame.devices ?? [],
    secrets: frame.secrets ?? [],
    joined: NAMESPACES.filter((name) => frame.joined?.includes(name)),
    shares: (frame.shares ?? []).map((mount) => ({ readonly: false, noexec: false, nosuid: false, ...mount })),
    limits: frame.limits && { memory: 0, pids: 0, cpuQuota: 0, cpuPeriod: 0, ...frame.limits },
  };
}
