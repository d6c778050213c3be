// The API: one entry for each operation.
import { JOB_ROUTES } from './job-routes.js';
import { OPERATOR_ROUTES } from './operator-routes.js';
import type { Route } from './route.js';
import { SANDBOX_ROUTES } from './sandbox-routes.js';
import { SECRET_ROUTES } from './secret-routes.js';
import { SNAPSHOT_ROUTES } from './snapshot-routes.js';
import { TENANT_ROUTES } from './tenant-routes.js';

export const ROUTES: readonly Route[] = [
  ...SANDBOX_ROUTES,
  ...SNAPSHOT_ROUTES,
  ...JOB_ROUTES,
  ...SECRET_ROUTES,
  ...TENANT_ROUTES,
  ...OPERATOR_ROUTES,
];
