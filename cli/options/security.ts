// --security-opt, in Docker's form.
import { messageOf } from '../../errors/index.js';
import { parseSeccompProfile, type SeccompProfile } from '../../sandbox/internal.js';
import { readUserFile } from '../../user-files/index.js';
import { UsageError } from '../output/errors.js';

/** Unlike no profile, it allows what a container is refused by default. */
const UNCONFINED: SeccompProfile = { defaultAction: 'SCMP_ACT_ALLOW' };

/**
 * Parses `no-new-privileges`, alone or with a boolean, or `seccomp=FILE`. As in Docker, `:` may
 * stand for `=`.
 * @throws UsageError
 */
export function parseSecurityOption(text: string): {
  noNewPrivileges?: boolean;
  seccomp?: SeccompProfile;
} {
  const [, name, value] = /^([^=:]*)(?:[=:](.*))?$/s.exec(text) ?? [];
  if (name === 'no-new-privileges' && (value === undefined || value === 'true' || value === 'false')) {
    return { noNewPrivileges: value !== 'false' };
  }
  if (name === 'seccomp' && value) return { seccomp: value === 'unconfined' ? UNCONFINED : readProfile(value) };
  throw new UsageError(`invalid --security-opt '${text}': expected no-new-privileges or seccomp=FILE`);
}

function readProfile(file: string): SeccompProfile {
  let json: string;
  try {
    json = readUserFile(file).toString();
  } catch (error) {
    throw new UsageError(`cannot read seccomp profile ${file}: ${messageOf(error)}`);
  }
  return parseSeccompProfile(json);
}
