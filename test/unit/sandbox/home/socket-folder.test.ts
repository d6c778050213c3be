// Proves that socket folders are private to the user, and removed once their owner is dead, not
// before.
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { defaultRuntime } from '../../../../sandbox/home/paths.js';
import { openRuntimeFolder, SocketFolder, sweepSocketFolders } from '../../../../sandbox/home/socket-folder.js';

const ID = '0123456789ab';

let base: string;

beforeEach(() => {
  base = mkdtempSync('/tmp/tsvm-test-');
  vi.stubEnv('XDG_RUNTIME_DIR', base);
});

afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(base, { recursive: true });
});

const runtimeFolder = () => openRuntimeFolder(defaultRuntime());

/** Makes the folder of a process that was killed: nobody has its lock. Returns its name. */
function deadFolder(name = ID): string {
  mkdirSync(join(runtimeFolder(), name));
  for (const file of ['lock', 'control']) writeFileSync(join(runtimeFolder(), name, file), '');
  return name;
}

describe('the runtime folder', () => {
  test('is in $XDG_RUNTIME_DIR, and closed to others', () => {
    expect(runtimeFolder()).toBe(join(base, 'tsvm'));
    expect(statSync(runtimeFolder()).mode & 0o777).toBe(0o700);
  });

  test('is in /tmp if $XDG_RUNTIME_DIR does not exist', () => {
    vi.stubEnv('XDG_RUNTIME_DIR', join(base, 'nonexistent'));
    expect(runtimeFolder()).toBe(`/tmp/tsvm-${process.getuid!()}`);
  });

  test('is in the home if another user made the name in /tmp, and stays there', () => {
    const home = join(base, 'home');
    const shared = join(base, `tsvm-${process.getuid!()}`);
    const runtime = (): string => defaultRuntime(home, base);
    vi.stubEnv('XDG_RUNTIME_DIR', undefined);
    expect(runtime()).toBe(shared);
    mkdirSync(shared);
    expect(runtime()).toBe(shared);
    rmSync(shared, { recursive: true });
    vi.spyOn(process, 'getuid').mockImplementation(() => statSync(base).uid + 1);
    mkdirSync(join(base, `tsvm-${process.getuid!()}`));
    expect(runtime()).toBe(join(home, 'run'));
    vi.mocked(process.getuid!).mockRestore();
    openRuntimeFolder(join(home, 'run'));
    expect(runtime()).toBe(join(home, 'run'));
  });

  test('is refused if other users may enter it', () => {
    mkdirSync(join(base, 'tsvm'));
    chmodSync(join(base, 'tsvm'), 0o755);
    expect(runtimeFolder).toThrow('alone may enter');
  });

  test('is refused if it is not a folder', () => {
    writeFileSync(join(base, 'tsvm'), '');
    expect(runtimeFolder).toThrow('alone may enter');
  });
});

describe('sweeping', () => {
  test.each([ID, `${ID}.new`])('removes the folder of a killed process: %s', async (name) => {
    deadFolder(name);
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([name]);
    expect(readdirSync(runtimeFolder())).toEqual(['lock']);
  });

  test('keeps the folder of a live process, finished or not, however old', async () => {
    using folder = await SocketFolder.make(ID, runtimeFolder());
    utimesSync(folder.path, 0, 0);
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    await folder.publish();
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    expect(existsSync(folder.path)).toBe(true);
  });

  test('keeps the containers of a read-only home, and files', async () => {
    mkdirSync(join(runtimeFolder(), 'containers', 'names'), { recursive: true });
    writeFileSync(join(runtimeFolder(), 'file'), '');
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    expect(readdirSync(runtimeFolder())).toEqual(['containers', 'file', 'lock']);
  });

  test('keeps the folder of a live supervisor of a release that made no locks', async () => {
    const path = join(runtimeFolder(), ID);
    mkdirSync(path);
    const server = createServer((socket) => socket.destroy()).listen(join(path, 'control'));
    await once(server, 'listening');
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    server.close();
    await once(server, 'close');
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([ID]);
  });

  test('goes on behind a folder that cannot be looked at', async () => {
    mkdirSync(join(runtimeFolder(), '000000000000', 'lock'), { recursive: true });
    deadFolder();
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([ID]);
  });

  test('by several processes at once has the same result', async () => {
    deadFolder();
    const swept = await Promise.all(Array.from({ length: 8 }, () => sweepSocketFolders(runtimeFolder())));
    expect(swept.flat()).toEqual([ID]);
  });

  test('takes nothing of a container that is started again and again meanwhile', async () => {
    let starts = 0;
    const start = async () => {
      for (; starts < 50; starts++) {
        using folder = await SocketFolder.make(ID, runtimeFolder());
        writeFileSync(folder.control, '');
        await folder.publish();
        expect(readdirSync(folder.path).sort()).toEqual(['control', 'lock']);
      }
    };
    const sweep = async () => {
      while (starts < 50) expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    };
    await Promise.all([start(), sweep(), sweep()]);
  });
});

test('a published folder has its final name, and is removed when disposed of', async () => {
  const dead = deadFolder();
  {
    using folder = await SocketFolder.make(ID, runtimeFolder());
    expect(readdirSync(runtimeFolder()).sort()).toEqual([dead, `${ID}.new`, 'lock']);
    await folder.publish();
    expect(folder.agentSocket).toBe(join(base, 'tsvm', folder.id, 'vsock_1024'));
    expect(readdirSync(folder.path)).toEqual(['lock']);
  }
  expect(readdirSync(runtimeFolder())).toEqual(['lock']);
});

test('a path that is too long for a socket is refused', async () => {
  const long = join(base, 'x'.repeat(100));
  mkdirSync(long);
  vi.stubEnv('XDG_RUNTIME_DIR', long);
  await expect(SocketFolder.make(ID, runtimeFolder())).rejects.toThrow('too long a path for sockets');
});
