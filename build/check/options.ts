// The options of the build checks: of the parser directive `# check=...`, of a comment above an
// instruction, and of the build argument BUILDKIT_DOCKERFILE_CHECK.
import { BuildError } from '../build-error.js';

export interface CheckOptions {
  /** Names of rules, or all of them. */
  skip: ReadonlySet<string> | 'all';
  experimental: ReadonlySet<string> | 'all';
  /** A finding ends the build. */
  isError: boolean;
}

export const NO_OPTIONS: CheckOptions = { skip: new Set(), experimental: new Set(), isError: false };

/** The build argument that replaces the directive. */
const CHECK_ARGUMENT = 'BUILDKIT_DOCKERFILE_CHECK';

/**
 * The options of a Dockerfile.
 * @param directive the value of its directive `check`
 * @throws BuildError `bad-dockerfile`
 */
export function checkOptions(directive: string | undefined, buildArgs: Readonly<Record<string, string>>): CheckOptions {
  const given = Object.hasOwn(buildArgs, CHECK_ARGUMENT) ? buildArgs[CHECK_ARGUMENT] : undefined;
  return parseCheckOptions(given ?? directive ?? '');
}

/**
 * Parses `skip=RULE,...;experimental=RULE,...;error=true`. What follows a space is a remark.
 * @throws BuildError `bad-dockerfile`
 */
function parseCheckOptions(text: string): CheckOptions {
  const options = { ...NO_OPTIONS };
  const [value = ''] = text.trim().split(' ');
  if (value === '') return options;
  for (const part of value.split(';')) {
    const [, name = '', given = ''] = /^([^=]*)=(.*)$/.exec(part) ?? [];
    switch (name.trim()) {
      case 'skip':
        options.skip = rules(given);
        break;
      case 'experimental':
        options.experimental = rules(given);
        break;
      case 'error':
        if (!/^(true|false|t|f|1|0)$/i.test(given)) throw bad(part);
        options.isError = /^(true|t|1)$/i.test(given);
        break;
      default:
        throw bad(part);
    }
  }
  return options;
}

/** What the comments of an instruction add. Options that make no sense are left out. */
export function commentOptions(comments: readonly string[]): CheckOptions {
  let options = known.get(comments);
  if (options === undefined) {
    options = parseComments(comments);
    known.set(comments, options);
  }
  return options;
}

/** Each rule asks. */
const known = new WeakMap<readonly string[], CheckOptions>();

function parseComments(comments: readonly string[]): CheckOptions {
  for (const comment of comments) {
    const [, value] = /^check\s*=(.+)$/is.exec(comment) ?? [];
    if (value === undefined) continue;
    try {
      return parseCheckOptions(value);
    } catch (error) {
      if (error instanceof BuildError) return NO_OPTIONS;
      throw error;
    }
  }
  return NO_OPTIONS;
}

function rules(text: string): ReadonlySet<string> | 'all' {
  return text.trim() === 'all' ? 'all' : new Set(text.split(',').map((name) => name.trim()));
}

function bad(part: string): BuildError {
  return new BuildError('bad-dockerfile', `failed to parse check options: invalid check option "${part}"`);
}
