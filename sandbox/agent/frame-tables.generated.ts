// What the codec goes by: the fields of each group and of each frame.
// Generated from guest-agent/protocol/table.mjs by `npm run generate`: do not edit.

import type { Fields, FrameType } from './fields.js';
import { CAPABILITIES, DEVICE_ACCESS, ERROR_KINDS, NAMESPACES, RLIMITS, STREAMS } from './frames.generated.js';

const terminal: Fields = [
  { tag: 1, name: 'columns', kind: 'integer', max: 65535, required: true },
  { tag: 2, name: 'rows', kind: 'integer', max: 65535, required: true },
];

const rlimit: Fields = [
  { tag: 1, name: 'name', kind: 'choice', first: 0, names: RLIMITS, required: true },
  { tag: 2, name: 'soft', kind: 'limit', required: true },
  { tag: 3, name: 'hard', kind: 'limit', required: true },
];

const root: Fields = [
  { tag: 1, name: 'device', kind: 'text', max: 4095 },
  { tag: 2, name: 'scratch', kind: 'text', max: 4095 },
  { tag: 3, name: 'tmpfsSize', kind: 'integer', max: 9007199254740991 },
  { tag: 4, name: 'readonly', kind: 'flag' },
  { tag: 5, name: 'share', kind: 'integer', max: 99999 },
];

const tmpfs: Fields = [
  { tag: 1, name: 'path', kind: 'text', max: 4095, required: true },
  { tag: 2, name: 'size', kind: 'integer', max: 9007199254740991 },
  { tag: 3, name: 'mode', kind: 'integer', max: 4095 },
  { tag: 4, name: 'uid', kind: 'integer', max: 4294967295 },
  { tag: 5, name: 'gid', kind: 'integer', max: 4294967295 },
  { tag: 6, name: 'readonly', kind: 'flag' },
  { tag: 7, name: 'exec', kind: 'flag' },
  { tag: 8, name: 'suid', kind: 'flag' },
  { tag: 9, name: 'dev', kind: 'flag' },
  { tag: 10, name: 'copyUp', kind: 'flag' },
];

const share: Fields = [
  { tag: 1, name: 'index', kind: 'integer', max: 99999, required: true },
  { tag: 2, name: 'path', kind: 'text', max: 4095, required: true },
  { tag: 3, name: 'readonly', kind: 'flag' },
  { tag: 4, name: 'noexec', kind: 'flag' },
  { tag: 5, name: 'nosuid', kind: 'flag' },
];

const device: Fields = [
  { tag: 1, name: 'path', kind: 'text', max: 4095, required: true },
  { tag: 2, name: 'target', kind: 'text', max: 4095, required: true },
  { tag: 3, name: 'access', kind: 'bits', names: DEVICE_ACCESS, required: true },
];

const network: Fields = [
  { tag: 1, name: 'interface', kind: 'text', max: 15, required: true },
  { tag: 2, name: 'addresses', kind: 'text', max: 49, repeated: true },
  { tag: 3, name: 'gateways', kind: 'text', max: 49, repeated: true },
  { tag: 4, name: 'mac', kind: 'text', max: 17 },
  { tag: 5, name: 'routes', kind: 'text', max: 1024, repeated: true },
];

const limits: Fields = [
  { tag: 1, name: 'memory', kind: 'integer', max: 9007199254740991 },
  { tag: 2, name: 'pids', kind: 'integer', max: 9007199254740991 },
  { tag: 3, name: 'cpuQuota', kind: 'integer', max: 9007199254740991 },
  { tag: 4, name: 'cpuPeriod', kind: 'integer', max: 9007199254740991 },
];

const capabilitySets: Fields = [
  { tag: 1, name: 'permitted', kind: 'bits', names: CAPABILITIES },
  { tag: 2, name: 'effective', kind: 'bits', names: CAPABILITIES },
  { tag: 3, name: 'inheritable', kind: 'bits', names: CAPABILITIES },
  { tag: 4, name: 'ambient', kind: 'bits', names: CAPABILITIES },
];

const sysctl: Fields = [
  { tag: 1, name: 'path', kind: 'text', max: 255, required: true },
  { tag: 2, name: 'value', kind: 'text', max: 4095, required: true },
];

const secret: Fields = [
  { tag: 1, name: 'name', kind: 'text', max: 255, required: true },
  { tag: 2, name: 'contents', kind: 'text', max: 1048576, required: true },
];

const hook: Fields = [
  { tag: 1, name: 'path', kind: 'text', max: 4095, required: true },
  { tag: 2, name: 'argv', kind: 'text', max: 131071, repeated: true },
  { tag: 3, name: 'env', kind: 'text', max: 131071, repeated: true },
  { tag: 4, name: 'timeout', kind: 'integer', max: 2147483647 },
];

const identity: Fields = [
  { tag: 1, name: 'container', kind: 'integer', min: 1, max: 4294967295, required: true },
  { tag: 2, name: 'hostname', kind: 'text', max: 64, required: true },
  { tag: 3, name: 'machineId', kind: 'text', max: 32, required: true },
  { tag: 4, name: 'hosts', kind: 'text', max: 4194304 },
  { tag: 5, name: 'resolvConf', kind: 'text', max: 4194304 },
];

export const FRAMES: readonly FrameType[] = [
  {
    number: 1,
    type: 'machine',
    from: 'host',
    request: true,
    fields: [
      { tag: 1, name: 'clock', kind: 'integer', max: 9007199254740991 },
      { tag: 2, name: 'network', kind: 'group', fields: network },
      { tag: 3, name: 'shares', kind: 'flag' },
      { tag: 4, name: 'moreNetworks', kind: 'group', fields: network, repeated: true },
    ],
  },
  {
    number: 2,
    type: 'container',
    from: 'host',
    request: true,
    fields: [
      { tag: 1, name: 'id', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'hostname', kind: 'text', max: 64, required: true },
      { tag: 3, name: 'root', kind: 'group', fields: root, required: true },
      { tag: 4, name: 'tmpfs', kind: 'group', fields: tmpfs, repeated: true },
      { tag: 5, name: 'shares', kind: 'group', fields: share, repeated: true },
      { tag: 6, name: 'hosts', kind: 'text', max: 4194304 },
      { tag: 7, name: 'resolvConf', kind: 'text', max: 4194304 },
      { tag: 8, name: 'shmSize', kind: 'integer', max: 9007199254740991 },
      { tag: 9, name: 'limits', kind: 'group', fields: limits },
      { tag: 10, name: 'sysctls', kind: 'group', fields: sysctl, repeated: true },
      { tag: 11, name: 'privileged', kind: 'flag' },
      { tag: 12, name: 'init', kind: 'flag' },
      { tag: 13, name: 'devices', kind: 'group', fields: device, repeated: true },
      { tag: 14, name: 'secrets', kind: 'group', fields: secret, repeated: true },
      { tag: 15, name: 'joined', kind: 'bits', names: NAMESPACES },
      { tag: 16, name: 'processesOf', kind: 'integer', min: 1, max: 4294967295 },
    ],
  },
  {
    number: 3,
    type: 'process',
    from: 'host',
    request: true,
    fields: [
      { tag: 1, name: 'container', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'id', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 3, name: 'argv', kind: 'text', max: 131071, required: true, repeated: true },
      { tag: 4, name: 'env', kind: 'text', max: 131071, repeated: true },
      { tag: 5, name: 'cwd', kind: 'text', max: 4095 },
      { tag: 6, name: 'user', kind: 'text', max: 255 },
      { tag: 7, name: 'groups', kind: 'text', max: 255, repeated: true },
      { tag: 8, name: 'terminal', kind: 'group', fields: terminal },
      { tag: 9, name: 'stdin', kind: 'flag' },
      { tag: 10, name: 'capabilities', kind: 'bits', names: CAPABILITIES },
      { tag: 11, name: 'noNewPrivileges', kind: 'flag' },
      { tag: 12, name: 'rlimits', kind: 'group', fields: rlimit, repeated: true },
      { tag: 13, name: 'seccomp', kind: 'program' },
      { tag: 14, name: 'port', kind: 'integer', min: 1024, max: 4294967294 },
      { tag: 15, name: 'tool', kind: 'flag' },
      { tag: 16, name: 'exact', kind: 'flag' },
      { tag: 17, name: 'capabilitySets', kind: 'group', fields: capabilitySets },
      { tag: 18, name: 'umask', kind: 'integer', max: 511 },
      { tag: 19, name: 'hooks', kind: 'group', fields: hook, repeated: true },
      { tag: 20, name: 'hookState', kind: 'text', max: 1048576 },
    ],
  },
  {
    number: 4,
    type: 'signal',
    from: 'host',
    request: true,
    fields: [
      { tag: 1, name: 'process', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'signal', kind: 'integer', min: 1, max: 64, required: true },
      { tag: 3, name: 'group', kind: 'flag' },
    ],
  },
  {
    number: 5,
    type: 'resize',
    from: 'host',
    request: true,
    fields: [
      { tag: 1, name: 'process', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'columns', kind: 'integer', max: 65535, required: true },
      { tag: 3, name: 'rows', kind: 'integer', max: 65535, required: true },
    ],
  },
  {
    number: 6,
    type: 'remove',
    from: 'host',
    request: true,
    fields: [{ tag: 1, name: 'container', kind: 'integer', min: 1, max: 4294967295, required: true }],
  },
  { number: 7, type: 'shutdown', from: 'host', request: true, fields: [] },
  { number: 8, type: 'ping', from: 'host', request: true, fields: [] },
  {
    number: 9,
    type: 'freeze',
    from: 'host',
    request: true,
    fields: [{ tag: 1, name: 'timeout', kind: 'integer', max: 60000 }],
  },
  {
    number: 10,
    type: 'thaw',
    from: 'host',
    request: true,
    fields: [
      { tag: 1, name: 'entropy', kind: 'text', max: 1024 },
      { tag: 2, name: 'clock', kind: 'integer', max: 9007199254740991 },
      { tag: 3, name: 'generation', kind: 'text', max: 36 },
      { tag: 4, name: 'bootId', kind: 'text', max: 36 },
      { tag: 5, name: 'network', kind: 'group', fields: network },
      { tag: 6, name: 'identities', kind: 'group', fields: identity, repeated: true },
    ],
  },
  {
    number: 129,
    type: 'hello',
    from: 'agent',
    request: false,
    fields: [
      { tag: 1, name: 'protocol', kind: 'integer', max: 4294967295, required: true },
      { tag: 2, name: 'agent', kind: 'text', max: 255, required: true },
      { tag: 3, name: 'kernel', kind: 'text', max: 255, required: true },
      { tag: 4, name: 'running', kind: 'integer', max: 9007199254740991 },
      { tag: 5, name: 'frozen', kind: 'flag' },
      { tag: 6, name: 'processes', kind: 'integer', max: 256 },
    ],
  },
  {
    number: 130,
    type: 'started',
    from: 'agent',
    request: true,
    fields: [
      { tag: 1, name: 'process', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'pid', kind: 'integer', min: 1, max: 4294967295, required: true },
    ],
  },
  {
    number: 131,
    type: 'exited',
    from: 'agent',
    request: false,
    fields: [
      { tag: 1, name: 'process', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'code', kind: 'integer', max: 255 },
      { tag: 3, name: 'signal', kind: 'integer', min: 1, max: 64 },
      { tag: 4, name: 'container', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 5, name: 'oomKilled', kind: 'flag' },
    ],
  },
  {
    number: 132,
    type: 'error',
    from: 'agent',
    request: true,
    fields: [
      { tag: 1, name: 'kind', kind: 'choice', first: 1, names: ERROR_KINDS, required: true },
      { tag: 2, name: 'errno', kind: 'integer', max: 4095 },
      { tag: 3, name: 'message', kind: 'text', max: 8192, required: true },
    ],
  },
  {
    number: 133,
    type: 'stream',
    from: 'agent',
    request: false,
    fields: [
      { tag: 1, name: 'process', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'stream', kind: 'choice', first: 0, names: STREAMS, required: true },
    ],
  },
  { number: 134, type: 'pong', from: 'agent', request: true, fields: [] },
  { number: 135, type: 'done', from: 'agent', request: true, fields: [] },
  {
    number: 136,
    type: 'running',
    from: 'agent',
    request: false,
    fields: [
      { tag: 1, name: 'process', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 2, name: 'container', kind: 'integer', min: 1, max: 4294967295, required: true },
      { tag: 3, name: 'pid', kind: 'integer', min: 1, max: 4294967295, required: true },
    ],
  },
];
