// --cache-from and --cache-to of `tsvm build`, in Docker's form (docs.docker.com, "local cache").
import { UsageError } from '../output/errors.js';

const MODES = ['min', 'max'] as const;

/** A folder, and which steps go there. */
export interface CacheTarget {
  folder: string;
  mode: (typeof MODES)[number];
}

/** Reads `type=local,src=DIR`. @returns the folder @throws UsageError */
export function parseCacheFrom(text: string): string {
  return parse('--cache-from', text, 'src', []).folder;
}

/** Reads `type=local,dest=DIR[,mode=min|max]`. @throws UsageError */
export function parseCacheTo(text: string): CacheTarget {
  const { folder, fields } = parse('--cache-to', text, 'dest', ['mode']);
  const given = fields.get('mode') ?? 'min';
  const mode = MODES.find((known) => known === given);
  if (mode === undefined) throw invalid('--cache-to', text, `expected mode=${MODES.join('|')}`);
  return { folder, mode };
}

function parse(option: string, text: string, path: 'src' | 'dest', others: readonly string[]) {
  const fields = new Map<string, string>();
  for (const field of text.split(',')) {
    const [name = '', value] = field.split(/=(.*)/s, 2);
    if (value === undefined || !['type', path, ...others].includes(name)) {
      throw invalid(option, text, `unknown option '${field}'`);
    }
    if (fields.has(name)) throw invalid(option, text, `'${name}' was given twice`);
    fields.set(name, value);
  }
  const folder = fields.get(path) ?? '';
  if (fields.get('type') !== 'local' || folder === '') throw invalid(option, text, `expected type=local,${path}=DIR`);
  return { folder, fields };
}

function invalid(option: string, text: string, why: string): UsageError {
  return new UsageError(`invalid argument '${text}' for ${option}: ${why}`);
}
