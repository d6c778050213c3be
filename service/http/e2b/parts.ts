// What both halves of E2B's API work with.
import type { Context, MiddlewareHandler } from 'hono';
import type { ServiceError } from '../../errors.js';
import type { Sandboxes } from '../../sandboxes/sandboxes.js';
import type { TenantStore } from '../../store/tenant-store.js';
import type { Shared, TakeTenant } from '../audit.js';

export interface E2bParts {
  sandboxes: Sandboxes;
  tenants: TenantStore;
  /** Refuses a body that is too large. */
  limit: MiddlewareHandler<Shared>;
  /** What a caller is told of an error. */
  onFault: (error: unknown) => ServiceError;
  /** Counts a request of one who is unknown. @throws ServiceError `rate` */
  takeStranger: (context: Context<Shared>) => void;
  takeTenant: TakeTenant;
}
