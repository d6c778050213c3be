// --tmpfs DIR[:OPTIONS], with the options of mount(8) that Docker accepts.
import type { TmpfsMount } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { parseSize } from './size.js';

const FLAGS: Record<string, Partial<TmpfsMount>> = {
  rw: { readonly: false },
  ro: { readonly: true },
  exec: { exec: true },
  noexec: { exec: false },
  suid: { suid: true },
  nosuid: { suid: false },
  dev: { dev: true },
  nodev: { dev: false },
};

/**
 * The tmpfs of `/run`, `/tmp:size=64m,mode=1777` or `/cache:exec,uid=1000`.
 * @throws UsageError
 */
export function parseTmpfs(text: string, flag: string): TmpfsMount {
  const colon = text.indexOf(':');
  const mount: TmpfsMount = { path: colon < 0 ? text : text.slice(0, colon) };
  if (!mount.path.startsWith('/') || /^\/+$/.test(mount.path)) {
    throw new UsageError(`invalid argument '${text}' for ${flag}: expected an absolute path other than '/'`);
  }
  if (colon < 0) return mount;
  for (const option of text.slice(colon + 1).split(',')) {
    const [name = '', value] = option.split(/=(.*)/s, 2);
    if (value === undefined && Object.hasOwn(FLAGS, name)) Object.assign(mount, FLAGS[name]);
    else if (name === 'size' && value !== undefined) mount.size = parseSize(value, flag);
    else if (name === 'mode' && value !== undefined && /^[0-7]{1,4}$/.test(value))
      mount.mode = Number.parseInt(value, 8);
    else if ((name === 'uid' || name === 'gid') && isId(value)) mount[name] = Number(value);
    else throw new UsageError(`invalid argument '${text}' for ${flag}: unknown option '${option}'`);
  }
  return mount;
}

function isId(value: string | undefined): boolean {
  return /^\d{1,10}$/.test(value ?? '') && Number(value) < 2 ** 32 - 1;
}
