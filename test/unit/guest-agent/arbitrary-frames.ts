// Generates arbitrary requests, valid and damaged.
import fc from 'fast-check';
import {
  CAPABILITIES,
  DEVICE_ACCESS,
  encodeFrame,
  type HostFrame,
  NAMESPACES,
  RLIMITS,
} from '../../../sandbox/agent/protocol.js';

const u32 = fc.integer({ min: 1, max: 0xffff_ffff });
const u16 = fc.integer({ min: 0, max: 0xffff });
const size = fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER });
const text = fc.string({ unit: 'grapheme', maxLength: 20 }).map((string) => string.replaceAll('\0', ''));
/** One byte for each character. */
const short = (maxLength: number) => fc.string({ maxLength }).map((string) => string.replaceAll('\0', ''));
const path = text.map((string) => `/${string}`);
const limit = fc.oneof(size, fc.constant('unlimited' as const));

const tmpfs = fc.record(
  {
    ...{ path, size, mode: fc.integer({ min: 0, max: 0o7777 }), uid: u32, gid: u32 },
    ...{ exec: fc.constant(true), copyUp: fc.constant(true) },
  },
  { requiredKeys: ['path'] },
);

const share = fc.record(
  {
    ...{ index: fc.integer({ min: 0, max: 99999 }), path, readonly: fc.constant(true) },
    ...{ noexec: fc.constant(true), nosuid: fc.constant(true) },
  },
  { requiredKeys: ['index', 'path'] },
);

const address = fc.oneof(
  fc.ipV4(),
  fc.ipV6(),
  fc.string({ maxLength: 40 }).map((string) => string.replaceAll('\0', '')),
);

const network = fc.record(
  {
    interface: fc.constantFrom('eth0', 'ens18'),
    addresses: fc.array(address, { minLength: 1, maxLength: 3 }),
    gateways: fc.array(address, { minLength: 1, maxLength: 2 }),
    mac: fc.constantFrom('52:54:00:12:34:56', 'no address'),
    routes: fc.array(fc.constantFrom('02000000fe000001'), { minLength: 1, maxLength: 3 }),
  },
  { requiredKeys: ['interface'] },
);

const identity = fc.record(
  { container: u32, hostname: short(64), machineId: short(32), hosts: text, resolvConf: text },
  { requiredKeys: ['container', 'hostname', 'machineId'] },
);

const hook = fc.record(
  {
    path: fc.constantFrom('/bin/sh', '/x'),
    argv: fc.array(short(9), { minLength: 1, maxLength: 3 }),
    env: fc.array(short(9), { minLength: 1, maxLength: 3 }),
    timeout: fc.integer({ min: 1, max: 0x7fff_ffff }),
  },
  { requiredKeys: ['path'] },
);

const capabilities = fc.subarray([...CAPABILITIES]);

/** Valid requests with values from all of their ranges. */
export const hostFrame: fc.Arbitrary<HostFrame> = fc.oneof(
  fc.record(
    {
      type: fc.constant('machine' as const),
      request: u16,
      clock: size,
      network,
      moreNetworks: fc.array(network, { minLength: 1, maxLength: 2 }),
      shares: fc.constant(true),
    },
    { requiredKeys: ['type', 'request'] },
  ),
  fc.record(
    {
      type: fc.constant('container' as const),
      request: u16,
      id: u32,
      hostname: short(64),
      root: fc.record(
        { device: path, scratch: path, tmpfsSize: size, share: fc.integer({ min: 0, max: 99999 }) },
        { requiredKeys: [] },
      ),
      tmpfs: fc.array(tmpfs, { minLength: 1, maxLength: 3 }),
      shares: fc.array(share, { minLength: 1, maxLength: 3 }),
      hosts: text,
      resolvConf: text,
      shmSize: size,
      limits: fc.record({ memory: size, pids: size, cpuQuota: size, cpuPeriod: size }, { requiredKeys: [] }),
      sysctls: fc.array(fc.record({ path: text, value: text }), { minLength: 1, maxLength: 3 }),
      privileged: fc.constant(true),
      init: fc.constant(true),
      secrets: fc.array(fc.record({ name: text, contents: text }), { minLength: 1, maxLength: 3 }),
      joined: fc.subarray([...NAMESPACES]),
      processesOf: u32,
      devices: fc.array(fc.record({ path, target: path, access: fc.subarray([...DEVICE_ACCESS]) }), {
        minLength: 1,
        maxLength: 3,
      }),
    },
    { requiredKeys: ['type', 'request', 'id', 'hostname', 'root'] },
  ),
  fc.record(
    {
      type: fc.constant('process' as const),
      request: u16,
      container: u32,
      id: u32,
      argv: fc.array(text, { minLength: 1, maxLength: 40 }),
      env: fc.array(text, { minLength: 1, maxLength: 40 }),
      cwd: path,
      user: text,
      groups: fc.array(text, { minLength: 1, maxLength: 4 }),
      terminal: fc.record({ columns: u16, rows: u16 }),
      stdin: fc.constant(true),
      capabilities,
      noNewPrivileges: fc.constant(true),
      rlimits: fc.array(fc.record({ name: fc.constantFrom(...RLIMITS), soft: limit, hard: limit }), {
        minLength: 1,
        maxLength: 4,
      }),
      seccomp: fc.array(
        fc.record({
          code: u16,
          jt: fc.integer({ min: 0, max: 255 }),
          jf: fc.integer({ min: 0, max: 255 }),
          k: fc.integer({ min: 0, max: 0xffff_ffff }),
        }),
        { minLength: 1, maxLength: 20 },
      ),
      port: fc.integer({ min: 1024, max: 2 ** 32 - 2 }),
      tool: fc.constant(true),
      exact: fc.constant(true),
      capabilitySets: fc.record(
        { permitted: capabilities, effective: capabilities, inheritable: capabilities, ambient: capabilities },
        { requiredKeys: [] },
      ),
      umask: fc.integer({ min: 0, max: 0o777 }),
      hooks: fc.array(hook, { minLength: 1, maxLength: 2 }),
      hookState: text,
    },
    { requiredKeys: ['type', 'request', 'container', 'id', 'argv'] },
  ),
  fc.record({ type: fc.constant('remove' as const), request: u16, container: u32 }),
  fc.record(
    {
      type: fc.constant('signal' as const),
      request: u16,
      process: u32,
      signal: fc.integer({ min: 1, max: 64 }),
      group: fc.boolean(),
    },
    { requiredKeys: ['type', 'request', 'process', 'signal'] },
  ),
  fc.record({ type: fc.constant('resize' as const), request: u16, process: u32, columns: u16, rows: u16 }),
  fc.record({ type: fc.constant('ping' as const), request: u16 }),
  fc.record(
    { type: fc.constant('freeze' as const), request: u16, timeout: fc.integer({ min: 0, max: 60_000 }) },
    { requiredKeys: ['type', 'request'] },
  ),
  fc.record(
    {
      type: fc.constant('thaw' as const),
      request: u16,
      entropy: text,
      clock: size,
      generation: short(36),
      bootId: short(36),
      network,
      identities: fc.array(identity, { minLength: 1, maxLength: 3 }),
    },
    { requiredKeys: ['type', 'request'] },
  ),
);

const edit = fc.record({
  at: fc.nat(),
  kind: fc.constantFrom('set', 'insert', 'remove'),
  byte: fc.oneof(fc.constantFrom(0, 1, 0x7f, 0x80, 0xff), fc.integer({ min: 0, max: 255 })),
});

/** `bytes` with some bytes changed, added and removed. */
export function damaged(bytes: fc.Arbitrary<Buffer>): fc.Arbitrary<Buffer> {
  return fc.tuple(bytes, fc.array(edit, { minLength: 1, maxLength: 6 })).map(([sound, edits]) => {
    const result = [...sound];
    for (const { at, kind, byte } of edits) {
      const index = at % (result.length + 1);
      if (kind === 'insert') result.splice(index, 0, byte);
      else if (kind === 'remove') result.splice(index, 1);
      else if (index < result.length) result[index] = byte;
    }
    return Buffer.from(result);
  });
}

/** A damaged payload behind a header that has its true length. */
export const damagedPayload: fc.Arbitrary<Buffer> = hostFrame.chain((frame) => {
  const sound = encodeFrame(frame);
  return damaged(fc.constant(sound.subarray(8))).map((payload) => {
    const bytes = Buffer.concat([sound.subarray(0, 8), payload]);
    bytes.writeUInt32LE(payload.length, 0);
    return bytes;
  });
});

/** A stream of valid frames with damage anywhere. */
export const damagedStream: fc.Arbitrary<Buffer> = damaged(
  fc.array(hostFrame, { minLength: 1, maxLength: 4 }).map((frames) => Buffer.concat(frames.map(encodeFrame))),
);
