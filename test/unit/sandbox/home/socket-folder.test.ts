// Proves that socket folders are private to the user, and removed once their owner is dead, not
// before.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
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

async function listen(path: string): Promise<Server> {
  const server = createServer();
  server.listen(path);
  await once(server, 'listening');
  return server;
}

/** Makes a folder whose owner was killed while it listened. */
async function deadFolder(): Promise<SocketFolder> {
  const folder = new SocketFolder(ID, runtimeFolder());
  const script = `require('net').createServer().listen(${JSON.stringify(folder.control)}, () => console.log('up'))`;
  const owner = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(owner.stdout, 'data');
  folder.publish();
  owner.kill('SIGKILL');
  await once(owner, 'exit');
  return folder;
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
  test('removes the folder of a killed process', async () => {
    const dead = await deadFolder();
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([dead.id]);
    expect(existsSync(join(base, 'tsvm', dead.id))).toBe(false);
  });

  test('keeps the folder of a live process', async () => {
    using folder = new SocketFolder(ID, runtimeFolder());
    const server = await listen(folder.control);
    folder.publish();
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    expect(existsSync(folder.control)).toBe(true);
    server.close();
  });

  test('keeps an unfinished folder for a minute, then removes it', async () => {
    using folder = new SocketFolder(ID, runtimeFolder());
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    utimesSync(join(base, 'tsvm', `${folder.id}.new`), 0, 0);
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([`${folder.id}.new`]);
  });

  test('keeps the containers of a read-only home', async () => {
    mkdirSync(join(runtimeFolder(), 'containers', 'names'), { recursive: true });
    expect(await sweepSocketFolders(runtimeFolder())).toEqual([]);
    expect(existsSync(join(base, 'tsvm', 'containers', 'names'))).toBe(true);
  });

  test('by several processes at once has the same result', async () => {
    const dead = await deadFolder();
    const swept = await Promise.all(Array.from({ length: 8 }, () => sweepSocketFolders(runtimeFolder())));
    expect(new Set(swept.flat())).toEqual(new Set([dead.id]));
  });
});

test('a published folder has its final name, and is removed when disposed of', async () => {
  const folder = new SocketFolder(ID, runtimeFolder());
  const server = await listen(folder.control);
  folder.publish();
  expect(folder.agentSocket).toBe(join(base, 'tsvm', folder.id, 'vsock_1024'));
  server.close();
  folder[Symbol.dispose]();
  expect(existsSync(join(base, 'tsvm', folder.id))).toBe(false);
});

test('a path that is too long for a socket is refused', () => {
  const long = join(base, 'x'.repeat(100));
  mkdirSync(long);
  vi.stubEnv('XDG_RUNTIME_DIR', long);
  expect(() => new SocketFolder(ID, runtimeFolder())).toThrow('too long a path for sockets');
});
