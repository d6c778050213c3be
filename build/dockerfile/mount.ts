// The values of RUN's `--mount` (Dockerfile reference, "RUN --mount").
import { BuildError } from '../build-error.js';

export type Mount =
  | {
      type: 'bind';
      target: string;
      /** A stage or an image. Undefined: the context. */
      from: string | undefined;
      /** Path in it. */
      source: string;
      readOnly: boolean;
    }
  | {
      type: 'cache';
      /** Of what is kept from build to build. */
      id: string;
      target: string;
      /** A stage or an image whose files it begins with. Undefined: it begins empty. */
      from?: string;
      /** Path in it. */
      source?: string;
      /** What two builds at once do: use it both, have one each, or wait. */
      sharing: 'shared' | 'private' | 'locked';
      readOnly: boolean;
      mode: number;
      uid: number;
      gid: number;
    }
  /** `size` in bytes. */
  | { type: 'tmpfs'; target: string; size: number | undefined }
  | {
      type: 'secret';
      id: string;
      /** Undefined: it is only a variable. */
      target: string | undefined;
      /** The variable that has it. */
      env: string | undefined;
      required: boolean;
      mode: number;
      uid: number;
      gid: number;
    }
  | {
      type: 'ssh';
      id: string;
      /** Of the agent's socket. Undefined: a path of the build's choice. */
      target: string | undefined;
      required: boolean;
      mode: number;
      uid: number;
      gid: number;
    };

/** The ID of an SSH agent where none is named. */
export const DEFAULT_AGENT = 'default';

const ALIASES: Readonly<Record<string, string>> = {
  src: 'source',
  dst: 'target',
  destination: 'target',
  ro: 'readonly',
  rw: 'readwrite',
};
const FIELDS: Readonly<Record<Mount['type'], readonly string[]>> = {
  bind: ['target', 'source', 'from', 'readonly', 'readwrite'],
  cache: ['id', 'target', 'from', 'source', 'readonly', 'readwrite', 'sharing', 'mode', 'uid', 'gid'],
  tmpfs: ['target', 'size'],
  secret: ['id', 'source', 'target', 'env', 'required', 'mode', 'uid', 'gid'],
  ssh: ['id', 'target', 'required', 'mode', 'uid', 'gid'],
};
const UNITS = { b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30 } as const;

/** The value of `from` in a mount, which no variable may change. */
export function mountFrom(text: string): string | undefined {
  return /(?:^|,)from=([^,]*)/.exec(text)?.[1];
}

/**
 * @param expand replaces the variables of a value
 * @throws BuildError `bad-dockerfile`
 */
export function parseMount(text: string, expand: (value: string) => string): Mount {
  const fail = (message: string): never => {
    throw new BuildError('bad-dockerfile', `invalid mount "${text}": ${message}`);
  };
  const fields = new Map<string, string | undefined>();
  for (const field of text.split(',')) {
    const equals = field.indexOf('=');
    const word = (equals < 0 ? field : field.slice(0, equals)).toLowerCase();
    const name = ALIASES[word] ?? word;
    if (fields.has(name)) fail(`"${word}" is given twice`);
    const value = equals < 0 ? undefined : field.slice(equals + 1);
    fields.set(name, value === undefined || name === 'from' || name === 'type' ? value : expand(value));
  }
  const type = fields.get('type') ?? 'bind';
  if (!isType(type)) return fail(`unsupported mount type "${type}"`);
  for (const name of fields.keys()) {
    if (name !== 'type' && !FIELDS[type].includes(name)) fail(`unexpected key "${name}" for mount type ${type}`);
  }
  const flag = (name: string): boolean | undefined => {
    if (!fields.has(name)) return undefined;
    const value = (fields.get(name) ?? 'true').toLowerCase();
    if (['true', '1'].includes(value)) return true;
    return ['false', '0'].includes(value) ? false : fail(`invalid value for ${name}: ${value}`);
  };
  const number = (name: string, radix: 8 | 10, most: number): number | undefined => {
    const value = fields.get(name);
    if (value === undefined) return fields.has(name) ? fail(`missing a value for ${name}`) : undefined;
    const read = (radix === 8 ? /^[0-7]+$/ : /^\d+$/).test(value) ? Number.parseInt(value, radix) : Number.NaN;
    return read <= most ? read : fail(`invalid value for ${name}: ${value}`);
  };
  const owner = { uid: number('uid', 10, 2 ** 32 - 2) ?? 0, gid: number('gid', 10, 2 ** 32 - 2) ?? 0 };
  const target = fields.get('target');
  const needed = (): string => (target === undefined || target === '' ? fail('a target is needed') : target);
  const readOnly = flag('readonly') ?? not(flag('readwrite'));
  const from = fields.get('from');
  if (from?.includes('$')) fail(`variables are not allowed in from: ${from}`);
  const source = fields.get('source') ?? '';
  switch (type) {
    case 'bind': {
      return { type, target: needed(), from, source, readOnly: readOnly ?? true };
    }
    case 'cache': {
      const sharing = fields.get('sharing') ?? 'shared';
      if (!isSharing(sharing)) return fail(`unsupported sharing value "${sharing}"`);
      const mode = number('mode', 8, 0o7777) ?? 0o755;
      return {
        ...{ type, id: fields.get('id') ?? needed(), target: needed(), sharing },
        ...(from !== undefined && { from, source }),
        ...{ readOnly: readOnly ?? false, mode, ...owner },
      };
    }
    case 'tmpfs': {
      const size = /^(\d{1,12})([bkmg]?)b?$/i.exec(fields.get('size') ?? '');
      if (fields.has('size') && size === null) fail(`invalid value for size: ${fields.get('size')}`);
      const unit = (size?.[2]?.toLowerCase() || 'b') as keyof typeof UNITS;
      return { type, target: needed(), size: size === null ? undefined : Number(size[1]) * UNITS[unit] };
    }
    case 'secret': {
      const file = fields.get('source') ?? target ?? '';
      const id = fields.get('id') ?? file.slice(file.lastIndexOf('/') + 1);
      if (id === '') fail('an id is needed');
      const env = fields.get('env');
      if (env !== undefined && !/^[^=\0]+$/.test(env)) fail(`invalid value for env: ${env}`);
      const at = target ?? (env === undefined ? `/run/secrets/${id}` : undefined);
      const mode = number('mode', 8, 0o7777) ?? 0o400;
      return { type, id, target: at, env, required: flag('required') ?? false, mode, ...owner };
    }
    case 'ssh': {
      const mode = number('mode', 8, 0o7777) ?? 0o600;
      const required = flag('required') ?? false;
      return { type, id: fields.get('id') || DEFAULT_AGENT, target: target || undefined, required, mode, ...owner };
    }
  }
}

function isType(text: string): text is Mount['type'] {
  return Object.hasOwn(FIELDS, text);
}

function isSharing(text: string): text is 'shared' | 'private' | 'locked' {
  return ['shared', 'private', 'locked'].includes(text);
}

function not(value: boolean | undefined): boolean | undefined {
  return value === undefined ? undefined : !value;
}
