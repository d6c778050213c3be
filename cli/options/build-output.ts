// --output of `tsvm build`, in Docker's form (docs.docker.com, "docker buildx build", --output).
import { UsageError } from '../output/errors.js';

const TYPES = ['local', 'tar', 'oci', 'docker', 'image'] as const;

export interface BuildOutput {
  type: (typeof TYPES)[number];
  /** A path; `-` for stdout. Undefined for the image store. */
  dest: string | undefined;
}

/**
 * Reads `type=local,dest=DIR`; `DIR` alone is that, and `-` is `type=tar,dest=-`.
 * @throws UsageError
 */
export function parseOutputs(given: readonly string[]): BuildOutput[] {
  const outputs = given.map(parseOutput);
  if (outputs.filter(({ dest }) => dest === '-').length > 1) {
    throw new UsageError('invalid --output: only one output can be written to stdout');
  }
  return outputs;
}

function parseOutput(text: string): BuildOutput {
  const fail = (why: string): never => {
    throw new UsageError(`invalid argument '${text}' for --output: ${why}`);
  };
  if (text === '-') return { type: 'tar', dest: '-' };
  if (text !== '' && !/[,=]/.test(text)) return { type: 'local', dest: text };
  const fields = new Map<string, string>();
  for (const field of text.split(',')) {
    const [name = '', value] = field.split(/=(.*)/s, 2);
    if ((name !== 'type' && name !== 'dest') || value === undefined) fail(`unknown option '${field}'`);
    else if (fields.has(name)) fail(`'${name}' was given twice`);
    else fields.set(name, value);
  }
  const type = TYPES.find((known) => known === fields.get('type'));
  const dest = fields.get('dest');
  if (type === undefined) return fail(`expected type=${TYPES.join('|')}`);
  if (dest === '') return fail('expected a path as dest');
  if (type === 'image' && dest !== undefined) return fail('an image goes into the store, which has no dest');
  if (type === 'local') {
    return dest === undefined || dest === '-' ? fail('local output needs dest=FOLDER') : { type, dest };
  }
  if (type === 'docker' && dest === undefined) return { type: 'image', dest };
  return { type, dest: type === 'image' ? undefined : (dest ?? '-') };
}
