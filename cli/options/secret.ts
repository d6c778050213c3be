// --secret of `tsvm build`, in Docker's form (docs.docker.com, "Build secrets").
import { messageOf } from '../../errors/index.js';
import { readUserFile } from '../../user-files/index.js';
import { UsageError } from '../output/errors.js';

const NAMES: Readonly<Record<string, string>> = { source: 'src' };
const KNOWN = ['type', 'id', 'src', 'env'];

/**
 * Reads the secrets of `id=token,src=FILE` and `id=token,env=NAME`. With an ID alone, it is the name of
 * a variable, else of a file.
 * @returns contents by ID
 * @throws UsageError, which never quotes a secret
 */
export function parseSecrets(given: readonly string[]): Map<string, Buffer> {
  return new Map(given.map(parseSecret));
}

function parseSecret(text: string): [id: string, contents: Buffer] {
  const fail = (why: string): never => {
    throw new UsageError(`invalid argument '${text}' for --secret: ${why}`);
  };
  const fields = new Map<string, string>();
  for (const field of text.split(',')) {
    const [word = '', value] = field.split(/=(.*)/s, 2);
    const name = NAMES[word] ?? word;
    if (!KNOWN.includes(name) || value === undefined) fail(`unknown option '${field}'`);
    else if (fields.has(name)) fail(`'${word}' was given twice`);
    else fields.set(name, value);
  }
  const type = fields.get('type');
  const id = fields.get('id') || fail('expected id=');
  if (type !== undefined && type !== 'file' && type !== 'env') fail(`unknown type '${type}': expected file or env`);
  if (fields.has('src') && fields.has('env')) fail('src and env exclude each other');
  const isVariable = type === 'env' || (type === undefined && !fields.has('src') && process.env[id] !== undefined);
  const variable = fields.get('env') ?? (isVariable ? (fields.get('src') ?? id) : undefined);
  if (variable !== undefined) {
    return [id, Buffer.from(process.env[variable] ?? fail(`the variable ${variable} is not set`))];
  }
  try {
    return [id, readUserFile(fields.get('src') ?? id)];
  } catch (error) {
    return fail(messageOf(error));
  }
}
