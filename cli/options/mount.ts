// -v and --mount, in Docker's forms (docs.docker.com, "Bind mounts" and "Volumes").
import type { Mount, TmpfsMount } from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { parseSize } from './size.js';
import { parseBoundOptions } from './volume-bounds.js';

/** The mounts of an option. */
export interface Mounts {
  mounts: Mount[];
  tmpfs: TmpfsMount[];
}

/** Options of -v without effect here: SELinux labels and propagation concern mounts of the host. */
const WITHOUT_EFFECT = new Set(['rw', 'z', 'Z', 'cached', 'delegated', 'consistent', 'rprivate', 'private']);

/**
 * The mount of `/srv:/data`, `/srv:/data:ro`, `name:/data`, or of `/data`: an anonymous volume.
 * @throws UsageError
 */
export function parseVolume(text: string, flag: string): Mount {
  if (!text.includes(':') && text.startsWith('/')) return { type: 'volume', source: '', target: text };
  const [source = '', target, options = '', ...more] = text.split(':');
  const fail = (why: string): never => {
    throw new UsageError(`invalid argument '${text}' for ${flag}: ${why}`);
  };
  if (source === '' || !target || more.length > 0) return fail('expected HOST:GUEST or HOST:GUEST:ro');
  if (!target.startsWith('/')) fail(`the path in the container, '${target}', must be absolute`);
  const mount: Mount = { type: source.startsWith('/') ? 'bind' : 'volume', source, target };
  for (const option of options === '' ? [] : options.split(',')) {
    if (option === 'ro') mount.readOnly = true;
    else if (option === 'suid' && mount.type === 'bind') mount.suid = true;
    else if (option === 'nocopy' && mount.type === 'volume') mount.noCopy = true;
    else if (!WITHOUT_EFFECT.has(option)) fail(`unknown option '${option}'`);
  }
  if (/^\.{0,2}\//.test(source) && !source.startsWith('/')) fail(`the path on the host, '${source}', must be absolute`);
  return mount;
}

const NAMES: Record<string, string> = { src: 'source', dst: 'target', destination: 'target', ro: 'readonly' };

/**
 * The mount of `type=bind,source=/srv,target=/data,readonly`, `type=volume,...` or
 * `type=tmpfs,target=/run,tmpfs-size=64m`.
 * @throws UsageError
 */
export function parseMount(text: string, flag: string): Mounts {
  const fail = (why: string): never => {
    throw new UsageError(`invalid argument '${text}' for ${flag}: ${why}`);
  };
  const fields = new Map<string, string>();
  const volumeOptions: string[] = [];
  for (const field of text.split(',')) {
    const [word = '', value = 'true'] = field.split(/=(.*)/s, 2);
    const name = NAMES[word] ?? word;
    if (name === 'volume-opt') {
      volumeOptions.push(value);
      continue;
    }
    if (fields.has(name)) fail(`'${name}' was given twice`);
    fields.set(name, value);
  }
  const take = (name: string): string | undefined => {
    const value = fields.get(name);
    fields.delete(name);
    return value;
  };
  const type = take('type') ?? 'volume';
  const target = take('target');
  if (!target?.startsWith('/')) return fail('expected target= with an absolute path');
  const isTrue = (name: string): boolean => isSet(take(name) ?? 'false') ?? fail(`${name} must be true or false`);
  const readOnly = isTrue('readonly');
  const mounts: Mounts = { mounts: [], tmpfs: [] };
  if (type === 'tmpfs') {
    const size = take('tmpfs-size');
    const mode = take('tmpfs-mode');
    const mount: TmpfsMount = { path: target, readonly: readOnly };
    if (size !== undefined) mount.size = parseSize(size, flag);
    if (mode !== undefined && !/^[0-7]{1,4}$/.test(mode)) fail(`mode '${mode}' is not an octal number`);
    if (mode !== undefined) mount.mode = Number.parseInt(mode, 8);
    mounts.tmpfs.push(mount);
  } else if (type === 'bind') {
    const source = take('source') ?? fail('expected source=');
    if (!source.startsWith('/')) fail(`the path on the host, '${source}', must be absolute`);
    mounts.mounts.push({ type, source, target, readOnly, ...(isTrue('suid') && { suid: true }) });
  } else if (type === 'volume') {
    const mount: Mount = { type, source: take('source') ?? '', target, readOnly };
    if (isTrue('volume-nocopy')) mount.noCopy = true;
    const options = volumeOptions.splice(0);
    if (options.length > 0) mount.bounds = parseBoundOptions(options, `${flag} volume-opt`);
    mounts.mounts.push(mount);
  } else {
    fail(`unknown type '${type}': expected bind, volume or tmpfs`);
  }
  if (volumeOptions.length > 0) fail(`unknown option 'volume-opt' for type ${type}`);
  for (const name of fields.keys()) fail(`unknown option '${name}' for type ${type}`);
  return mounts;
}

function isSet(value: string): boolean | undefined {
  if (['true', '1', ''].includes(value)) return true;
  return ['false', '0'].includes(value) ? false : undefined;
}
