// zstd and xz, which read what a stranger has made, unpack in a jail: they have the libraries, their
// own file and three pipes.
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { decompress } from '../../../images/decompress.js';

const DATA = randomBytes(2 * 2 ** 20);
const NAMESPACES = ['mnt', 'net', 'pid', 'ipc', 'uts'];

afterEach(() => {
  delete process.env.TSVM_JAIL;
});

/** The text of a file in /proc; empty if its process or thread has ended. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1').trim();
  } catch {
    return '';
  }
}

/** The processes that this one has started, and those that they have. */
function descendants(pid: number): number[] {
  const tasks = existsSync(`/proc/${pid}/task`) ? readdirSync(`/proc/${pid}/task`) : [];
  const children = tasks.flatMap((task) =>
    textOf(`/proc/${pid}/task/${task}/children`).split(' ').filter(Boolean).map(Number),
  );
  return children.flatMap((child) => [child, ...descendants(child)]);
}

const named = (name: string) => descendants(process.pid).filter((pid) => textOf(`/proc/${pid}/comm`) === name);
const namespaces = (pid: number | 'self') => NAMESPACES.map((name) => readlinkSync(`/proc/${pid}/ns/${name}`));

test.each([
  ['zstd', ['-cq', '--long=29']],
  ['xz', ['-cq', '--lzma2=dict=256MiB']],
])('its memory suffices for the largest window that %s unpacks', async (name, words) => {
  const data = Buffer.alloc(64 * 2 ** 20);
  const compressed = execFileSync(name, words, { input: data });
  let size = 0;
  async function* source() {
    yield compressed;
  }
  for await (const chunk of decompress(source())) size += chunk.length;
  expect(size).toBe(data.length);
});

describe.each(['zstd', 'xz'])('%s', (name) => {
  const compressed = execFileSync(name, ['-cq'], { input: DATA, maxBuffer: 4 * DATA.length });

  /** Decompresses with a look at the program, which has written and waits for more. */
  async function look<T>(see: (pid: number) => T): Promise<{ seen: T; bytes: Buffer }> {
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    async function* source() {
      yield compressed.subarray(0, -1);
      await released;
      yield compressed.subarray(-1);
    }
    const chunks: Buffer[] = [];
    let seen: T | undefined;
    for await (const chunk of decompress(source())) {
      if (chunks.length === 0) {
        const [pid] = named(name);
        if (pid === undefined) throw new Error(`there is no ${name}`);
        seen = see(pid);
        release();
      }
      chunks.push(chunk);
    }
    return { seen: seen as T, bytes: Buffer.concat(chunks) };
  }

  test('unpacks apart from the host', async () => {
    const { seen, bytes } = await look((pid) => ({
      namespaces: namespaces(pid),
      root: readdirSync(`/proc/${pid}/root`).sort(),
      environment: readFileSync(`/proc/${pid}/environ`, 'latin1'),
      descriptors: readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`)),
      status: readFileSync(`/proc/${pid}/status`, 'latin1'),
      limits: readFileSync(`/proc/${pid}/limits`, 'latin1'),
    }));
    expect(bytes.equals(DATA)).toBe(true);
    const own = namespaces('self');
    expect(seen.namespaces.filter((each) => own.includes(each))).toEqual([]);
    for (const folder of ['etc/passwd', 'home', 'root', 'tmp', 'var']) expect(seen.root).not.toContain(folder);
    expect(seen.environment).toBe('');
    // Node.js makes its three pipes as sockets. xz has a pipe to itself. One file holds its user.
    const others = seen.descriptors.filter((link) => !/^(socket|pipe):/.test(link));
    expect(others).toEqual([expect.stringMatching(/^\/run\/tsvm\/users\/[0-9]+$/)]);
    const uid = others[0]?.split('/').pop();
    expect(seen.status).toMatch(new RegExp(`^Uid:(\t${uid}){4}$`, 'm'));
    expect(seen.status).toMatch(new RegExp(`^Gid:(\t${uid}){4}$`, 'm'));
    expect(seen.status).toMatch(/^Groups:\t *$/m);
    expect(seen.descriptors.filter((link) => link.startsWith('socket:'))).toHaveLength(3);
    expect(seen.status).toMatch(/^CapPrm:\t0+$/m);
    expect(seen.status).toMatch(/^CapBnd:\t0+$/m);
    expect(seen.status).toMatch(/^NoNewPrivs:\t1$/m);
    expect(seen.limits).toMatch(/^Max address space +1073741824 +1073741824 /m);
    expect(seen.limits).toMatch(/^Max processes +16 +16 /m);
    expect(seen.limits).toMatch(/^Max cpu time +86400 +86400 /m);
    expect(seen.limits).toMatch(/^Max open files +64 +64 /m);
    expect(seen.limits).toMatch(/^Max file size +0 +0 /m);
  });

  test('unpacks without a jail if the environment says so', async () => {
    process.env.TSVM_JAIL = 'off';
    const { seen, bytes } = await look(namespaces);
    expect(bytes.equals(DATA)).toBe(true);
    expect(seen).toEqual(namespaces('self'));
  });

  test('one that is killed is said to be, and not its data', async () => {
    const killed = look((pid) => process.kill(pid, 'SIGKILL'));
    await expect(killed).rejects.toMatchObject({
      code: 'io',
      message: `${name}, which unpacked it, was ended by SIGKILL`,
    });
  });

  test('one that stands still is ended, and one that waits for input is not', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] });
    try {
      const { bytes } = await look(() => vi.advanceTimersByTime(600_000));
      expect(bytes.equals(DATA)).toBe(true);
      const stopped = look((pid) => {
        process.kill(pid, 'SIGSTOP');
        // The pipe to it fills before it is found to stand still.
        setImmediate(() => setImmediate(() => vi.advanceTimersByTime(60_000)));
      });
      await expect(stopped).rejects.toMatchObject({
        code: 'io',
        message: `${name} stood still for 60 s, and was ended: try again`,
      });
    } finally {
      vi.useRealTimers();
    }
  });

  test('damage is reported in its words, and an abandoned one ends', async () => {
    const damaged = Buffer.from(compressed);
    damaged.fill(0, 1000, 2000);
    async function* broken() {
      yield damaged;
    }
    const all = async () => {
      for await (const _ of decompress(broken()));
    };
    await expect(all()).rejects.toMatchObject({
      code: 'corrupt',
      message: expect.stringMatching(new RegExp(`^its ${name} data are damaged or cut short \\((?!tsvm-jail).+\\)$`)),
    });
    async function* endless() {
      yield compressed.subarray(0, -1);
      await new Promise(() => {});
    }
    for await (const _ of decompress(endless())) break;
    while (named(name).length > 0) await new Promise(setImmediate);
  });
});
