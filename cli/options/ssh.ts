// --ssh of `tsvm build`, in Docker's form (docs.docker.com, "docker buildx build --ssh").
import { UsageError } from '../output/errors.js';

/**
 * Reads `ID` and `ID=PATH[,PATH]`. An ID alone is the agent that SSH_AUTH_SOCK names.
 * @returns paths by ID
 * @throws UsageError
 */
export function parseSsh(given: readonly string[]): Map<string, [string, ...string[]]> {
  const found = new Map<string, [string, ...string[]]>();
  for (const text of given) {
    const fail = (why: string): never => {
      throw new UsageError(`invalid argument '${text}' for --ssh: ${why}`);
    };
    const [id = '', value] = text.split(/=(.*)/s, 2);
    if (id === '') fail('expected an ID');
    if (found.has(id)) fail(`'${id}' was given twice`);
    const [first, ...others] = value === undefined ? [process.env.SSH_AUTH_SOCK ?? ''] : value.split(',');
    if (first === undefined || first === '' || others.includes('')) {
      fail(value === undefined ? 'SSH_AUTH_SOCK is not set: start ssh-agent, or give a key' : 'expected a path');
    } else found.set(id, [first, ...others]);
  }
  return found;
}
