// `filesystem.Filesystem` of E2B's daemon: what is there, and changes of it.
import { z } from 'zod';
import type { Entry, Files } from '../../sandboxes/files.js';
import { type Method, unary } from './method.js';

/** Levels of directories in an answer. */
const MAX_DEPTH = 64;
export const pathSchema = z
  .string()
  .min(1)
  .max(4096)
  .refine((path) => !path.includes('\0'), { error: 'a path has no zero byte' });
const ofPathSchema = z.object({ path: pathSchema });
const listSchema = z.object({ path: pathSchema, depth: z.int().min(0).max(MAX_DEPTH).default(1) });
const moveSchema = z.object({ source: pathSchema, destination: pathSchema });

export function filesystemMethods(files: Files): Readonly<Record<string, Method>> {
  return {
    '/filesystem.Filesystem/Stat': unary(ofPathSchema, async (call, { path }) => ({
      entry: described(await files.stat(call, path)),
    })),
    '/filesystem.Filesystem/ListDir': unary(listSchema, async (call, { path, depth }) => ({
      entries: (await files.list(call, path, Math.max(1, depth))).map(described),
    })),
    '/filesystem.Filesystem/MakeDir': unary(ofPathSchema, async (call, { path }) => ({
      entry: described(await files.makeDirectory(call, path)),
    })),
    '/filesystem.Filesystem/Move': unary(moveSchema, async (call, { source, destination }) => ({
      entry: described(await files.move(call, source, destination)),
    })),
    '/filesystem.Filesystem/Remove': unary(ofPathSchema, async (call, { path }) => {
      await files.remove(call, path);
      return {};
    }),
  };
}

const TYPES: Partial<Record<Entry['type'], string>> = {
  file: 'FILE_TYPE_FILE',
  directory: 'FILE_TYPE_DIRECTORY',
  symlink: 'FILE_TYPE_SYMLINK',
};
const LETTERS = 'rwxrwxrwx';

function described({ name, type, path, size, mode, uid, gid, mtime, target }: Entry): object {
  const bits = [...LETTERS].map((letter, at) => ((mode >> (8 - at)) & 1 ? letter : '-')).join('');
  const kind = { file: '-', directory: 'd', symlink: 'l', character: 'c', block: 'b', fifo: 'p', socket: 's' }[type];
  return {
    ...{ name, type: TYPES[type] ?? 'FILE_TYPE_UNSPECIFIED', path, size: String(size), mode: mode & 0o777 },
    ...{ permissions: `${kind}${bits}`, owner: ownerOf(uid), group: ownerOf(gid) },
    ...{ modifiedTime: mtime.toISOString(), symlinkTarget: target },
  };
}

/** The names of others are in files of the sandbox. */
function ownerOf(id: number): string {
  return id === 0 ? 'root' : String(id);
}
