// What a key may do. Each scope has what those before it have.
import { ServiceError } from './errors.js';

/**
 * - `read`: looks.
 * - `submit`: starts, ends and uses jobs and sandboxes.
 * - `admin`: sets and removes secrets.
 * - `operator`: looks at all tenants and their jobs.
 */
export const SCOPES = ['read', 'submit', 'admin', 'operator'] as const;
export type Scope = (typeof SCOPES)[number];

/** @throws ServiceError `forbidden` */
export function checkScope(scope: Scope, needed: Scope): void {
  if (SCOPES.indexOf(scope) >= SCOPES.indexOf(needed)) return;
  throw new ServiceError('forbidden', `the key has the scope ${scope}, and ${needed} is needed`);
}
