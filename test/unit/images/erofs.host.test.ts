// Proves that the EROFS disks of images hold what their tars hold: fsck.erofs, dump.erofs and the
// kernel read them.
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { crc32c } from '../../../images/erofs/format.js';
import { openStore } from '../../../images/index.js';
import { buildDumpTree } from '../../fixtures/layered-image.js';
import { type TarMember, tar, tarMember } from '../../fixtures/tar-writer.js';
import { checkedDisk, dumpDisk, mounted } from './disk-view.js';

let work: string;
let program: string;
let homes = 0;

beforeAll(() => {
  work = mkdtempSync(join(tmpdir(), 'tsvm-erofs-'));
  program = buildDumpTree(work);
});

afterAll(() => {
  rmSync(work, { recursive: true, force: true });
});

/**
 * Imports a tar into its own store and passes the disk to `use`. The store is removed afterwards.
 */
async function withDisk<T>(
  archive: Buffer | AsyncIterable<Uint8Array>,
  use: (disk: { path: string; offset: number; length: number }[], place: string) => T,
): Promise<T> {
  const place = join(work, `home-${homes++}`);
  mkdirSync(place);
  try {
    const store = openStore(join(place, 'home'));
    await store.import(Buffer.isBuffer(archive) ? once(archive) : archive, 'image');
    const { disk } = await store.resolve('image');
    return use(disk, place);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

function dump(members: TarMember[]): Promise<string[]> {
  return withDisk(tar(members), (disk, place) => dumpDisk(disk, place, program));
}

const TYPE_BITS: Record<string, number> = {
  '0': 0o100000,
  '2': 0o120000,
  '3': 0o020000,
  '4': 0o060000,
  '5': 0o040000,
  '6': 0o010000,
};

/** The line that dump-tree prints for a member. */
function expectedLine(member: TarMember, links: number): string {
  const { path, type = '0', mode = 0o644, uid = 0, gid = 0, mtime = [0, 0], xattrs = {} } = member;
  const data = Buffer.from(member.data ?? '');
  const bits = TYPE_BITS[type]! | (type === '2' ? 0o777 : mode);
  const fields = [
    `/${escaped(path.replace(/\/$/, ''))}`.replace(/^\/$/, ''),
    bits.toString(8).padStart(6, '0'),
    `${uid}:${gid}`,
    `${mtime[0]}.${`${mtime[1]}`.padStart(9, '0')}`,
  ];
  if (type !== '5') fields.push(`links=${links}`);
  if (type === '0') fields.push(`size=${data.length}`, `hash=${fnv1a(data)}`);
  if (type === '3' || type === '4') fields.push(`device=${member.device![0]}:${member.device![1]}`);
  if (type === '2') fields.push(`target=${escaped(member.link!)}`);
  for (const name of Object.keys(xattrs).sort()) {
    fields.push(`${escaped(name)}=${Buffer.from(xattrs[name]!, 'latin1').toString('hex')}`);
  }
  return fields.join(' ');
}

function escaped(text: string): string {
  return text.replace(/[^\x21-\x5b\x5d-\x7e]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function fnv1a(bytes: Buffer): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of bytes) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  return hash.toString(16).padStart(16, '0');
}

const name = fc
  .oneof(
    fc.stringMatching(/^[a-z]{1,6}$/),
    fc.string({
      unit: fc.integer({ min: 1, max: 255 }).map((code) => String.fromCharCode(code)),
      minLength: 1,
      maxLength: 255,
    }),
  )
  .map((text) => text.replaceAll('/', '_'))
  .filter((text) => !/^\.\.?$|^\.wh\./.test(text));

const xattrName = fc
  .tuple(fc.constantFrom('user.', 'trusted.', 'security.'), fc.stringMatching(/^[a-z][a-z.]{0,40}$/))
  .map((parts) => parts.join(''))
  // Attributes that the kernel checks or makes up itself.
  .filter((text) => !/^security\.(capability|selinux|ima|evm|apparmor|SMACK)|^trusted\.overlay\./i.test(text));

const latin1 = (maxLength: number) =>
  fc.uint8Array({ minLength: 1, maxLength }).map((bytes) => Buffer.from(bytes).toString('latin1'));

const metadata = fc.record({
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.oneof(fc.nat(65_536), fc.nat(0xfffffffe)),
  gid: fc.oneof(fc.nat(65_536), fc.nat(0xfffffffe)),
  mtime: fc.oneof(
    fc.constant<[number, number]>([1_000_000_000, 0]),
    fc.tuple(fc.integer({ min: -(2 ** 33), max: 2 ** 34 }), fc.nat(999_999_999)),
  ),
});

const node = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ type: fc.constant('0'), data: latin1(9000).map((text) => Buffer.from(text, 'latin1')) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('0'), data: fc.constant(Buffer.alloc(0)) }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant('5') }) },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant('2'),
      link: fc.oneof(latin1(20), latin1(4095)).map((text) => text.replaceAll('\0', '0')),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constantFrom('3', '4'), device: fc.tuple(fc.nat(4095), fc.nat(2 ** 20 - 1)) }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant('6') }) },
);

const member = fc
  .tuple(name, node, metadata, fc.dictionary(xattrName, latin1(300), { maxKeys: 4 }), fc.nat())
  .map(([text, what, how, xattrs, parent]) => ({
    member: { path: text, ...what, ...how, xattrs: ['0', '5'].includes(what.type) ? xattrs : {} } as TarMember,
    parent,
  }));

/**
 * Puts each member into a directory that comes before it. Members with a name that is taken are
 * dropped.
 */
function asTree(items: { member: TarMember; parent: number }[]): TarMember[] {
  const members: TarMember[] = [];
  const directories = [''];
  const taken = new Set<string>();
  for (const { member: item, parent } of items) {
    const path = `${directories[parent % directories.length]}${item.path}`;
    if (taken.has(path) || path.length > 1000) continue;
    taken.add(path);
    members.push({ ...item, path: item.type === '5' ? `${path}/` : path });
    if (item.type === '5') directories.push(`${path}/`);
  }
  return members;
}

describe('an EROFS disk', () => {
  test('holds any tree unchanged', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(member, { maxLength: 60 }), metadata, async (items, rootMetadata) => {
        const root: TarMember = { path: './', type: '5', ...rootMetadata };
        const tree = asTree(items);
        const lines = await dump([root, ...tree]);
        const expected = [{ ...root, path: '' }, ...tree].map((item) => expectedLine(item, 1));
        expect(lines.toSorted()).toEqual(expected.toSorted());
      }),
      { numRuns: 40, seed: 4 },
    );
  });

  test('finds each of 100,000 names in a directory, and no other', async () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `${i.toString(36)}-${'n'.repeat(i % 50)}`);
    const archive = tar([
      { path: 'd/', type: '5', mode: 0o755 },
      ...names.map((text) => ({ path: `d/${text}`, data: text })),
    ]);
    await withDisk(archive, (disk, place) => {
      mounted(checkedDisk(disk, join(place, 'disk')), place, (directory) => {
        expect(readdirSync(join(directory, 'd')).sort()).toEqual(names.toSorted());
        for (let i = 0; i < names.length; i += 997) {
          expect(readFileSync(join(directory, 'd', names[i]!), 'latin1')).toBe(names[i]!);
          expect(statSync(join(directory, 'd', `${names[i]}x`), { throwIfNoEntry: false })).toBeUndefined();
        }
      });
    });
  });

  test('holds files of more than 4 GiB, and takes no space for their holes', async () => {
    const far = 5 * 2 ** 30;
    const sparse: TarMember = {
      path: 'big',
      data: 'beginend',
      pax: { 'GNU.sparse.map': `0,5,${far},3`, 'GNU.sparse.size': `${far + 3}`, 'GNU.sparse.name': 'big' },
    };
    await withDisk(tar([sparse, { path: 'after', data: 'after' }]), (disk, place) => {
      expect(statSync(disk[1]!.path).blocks * 512).toBeLessThan(1 << 20);
      const file = join(place, 'disk');
      checkedDisk(disk, file);
      mounted(file, place, (directory) => {
        expect(statSync(join(directory, 'big')).size).toBe(far + 3);
        expect(readFileSync(join(directory, 'after'), 'latin1')).toBe('after');
        const big = openSync(join(directory, 'big'), 'r');
        const bytes = Buffer.alloc(10);
        expect(readSync(big, bytes, 0, 10, far - 3)).toBe(6);
        closeSync(big);
        expect(bytes.toString('latin1')).toBe('\0\0\0end\0\0\0\0');
      });
    });
  });

  test('turns the zeros of a tar into holes', async () => {
    async function* stream(): AsyncGenerator<Buffer> {
      const size = 256 << 20;
      yield tarMember({ path: 'zeros', size, data: '' });
      for (let at = 0; at < size; at += 1 << 20) yield Buffer.alloc(1 << 20);
      yield tar([{ path: 'after', data: 'after' }]);
    }
    await withDisk(stream(), (disk, place) => {
      expect(disk[1]!.length).toBe((256 << 20) + 4096);
      expect(statSync(disk[1]!.path).blocks * 512).toBeLessThan(1 << 20);
      mounted(checkedDisk(disk, join(place, 'disk')), place, (directory) => {
        expect(readFileSync(join(directory, 'after'), 'latin1')).toBe('after');
      });
    });
  });

  test('counts more hard links than fit in 16 bits', async () => {
    const links = Array.from({ length: 70_000 }, (_, i) => ({ path: `l${i}`, type: '1', link: 'file' }));
    await withDisk(tar([{ path: 'file', data: 'x' }, ...links]), (disk, place) => {
      mounted(checkedDisk(disk, join(place, 'disk')), place, (directory) => {
        expect(statSync(join(directory, 'file')).nlink).toBe(70_001);
        expect(statSync(join(directory, 'l69999')).ino).toBe(statSync(join(directory, 'file')).ino);
      });
    });
  });

  test('holds attributes as large as Linux allows', async () => {
    const xattrs = { 'user.large': 'v'.repeat(60_000), [`user.${'n'.repeat(250)}`]: 'x', 'trusted.small': 'y' };
    const members: TarMember[] = [
      { path: 'a', data: 'a', xattrs },
      { path: 'd/', type: '5', mode: 0o755, xattrs },
      { path: 'd/b', data: 'b' },
    ];
    expect((await dump(members)).slice(1)).toEqual(members.map((item) => expectedLine(item, 1)));
  });

  test('leaves out attributes that describe another machine or have no known namespace', async () => {
    const xattrs = {
      'trusted.overlay.opaque': 'y',
      'security.selinux': 'x',
      'system.nfs4_acl': 'x',
      other: 'x',
      'user.': 'x',
    };
    expect((await dump([{ path: 'a', xattrs }]))[1]).toBe(expectedLine({ path: 'a' }, 1));
  });

  test('has the same bytes when it is made again from the same image', async () => {
    const archive = tar([
      { path: 'a/', type: '5' },
      { path: 'a/b', data: 'x', xattrs: { 'user.b': '1', 'user.a': '2' } },
    ]);
    const digestOf = () =>
      withDisk(archive, (disk) => {
        const metadata = readFileSync(disk[0]!.path);
        // The UUID comes from the image ID, which includes the time of the import. The checksum
        // covers the UUID.
        metadata.fill(0, 1024 + 48, 1024 + 64);
        metadata.fill(0, 1024 + 4, 1024 + 8);
        return metadata.toString('hex');
      });
    expect(await digestOf()).toBe(await digestOf());
  });

  test('has only a root directory if the image is empty', async () => {
    const lines = await withDisk(Buffer.alloc(1024), (disk, place) => {
      expect(disk).toHaveLength(1);
      return dumpDisk(disk, place, program);
    });
    expect(lines).toEqual([' 040755 0:0 0.000000000']);
  });
});

test('dump.erofs reads the superblock', async () => {
  const text = await withDisk(tar([{ path: 'a', data: 'x', mtime: [1_700_000_000, 0] }]), (disk, place) =>
    execFileSync('dump.erofs', ['-s', checkedDisk(disk, join(place, 'disk'))], { encoding: 'utf8' }),
  );
  expect(text).toMatch(/magic number:\s+0xE0F5E1E2/);
  expect(text).toMatch(/inode count:\s+2\n/);
  expect(text).toMatch(/features:\s+sb_csum mtime/);
});

test('crc32c returns the published check value', () => {
  // The published check value includes the final inversion.
  expect((crc32c(Buffer.from('123456789')) ^ 0xffffffff) >>> 0).toBe(0xe3069283);
});
