// --filter of lists of containers, as in Docker.
import {
  Container,
  type ContainerInfo,
  type ContainerState,
  eachPort,
  formatPort,
  HEALTH_STATUSES,
  Home,
  healthStatus,
  isRunning,
  parseExposed,
  STATUSES,
} from '../../sandbox/internal.js';
import { UsageError } from '../output/errors.js';
import { type Filters, hasLabels, parseFilters } from './filter.js';

const CONTAINER_FILTERS = [
  ...[
    'id',
    'name',
    'label',
    'status',
    'exited',
    'ancestor',
    'before',
    'since',
    'publish',
    'expose',
    'network',
    'health',
  ],
] as const;

export type ContainerFilter = (info: ContainerInfo) => boolean;

/**
 * @throws UsageError; SandboxError for an unknown container of `before` or `since`, or an invalid
 * port
 */
export function parseContainerFilters(texts: readonly string[]): ContainerFilter {
  const filters = parseFilters(texts, CONTAINER_FILTERS);
  check(filters, 'status', (value) => (STATUSES as readonly string[]).includes(value), STATUSES.join(', '));
  const healths = [...HEALTH_STATUSES, 'none'];
  check(filters, 'health', (value) => healths.includes(value), healths.join(', '));
  check(filters, 'exited', (value) => /^\d{1,3}$/.test(value), 'an exit code');
  const before = (filters.get('before') ?? []).map(created);
  const since = (filters.get('since') ?? []).map(created);
  const ports = (key: string) => filters.get(key)?.flatMap((value) => parseExposed(value).map(formatPort));
  const [published, exposed] = [ports('publish'), ports('expose')];
  const any = (key: string, fits: (value: string) => boolean) => filters.get(key)?.some(fits) ?? true;
  return ({ config, state, name }) =>
    any('id', (value) => config.id.startsWith(value)) &&
    any('name', (value) => name?.includes(value.replace(/^\//, '')) === true) &&
    any('status', (value) => state.status === value) &&
    any('health', (value) => healthStatus(state) === value) &&
    any('exited', (value) => state.status === 'exited' && state.exitCode === Number(value)) &&
    (published?.some((port) => publishedPorts(state).includes(port)) ?? true) &&
    (exposed?.some((port) => config.exposed?.includes(port)) ?? true) &&
    any('network', (value) => Container.find(new Home(), config.id).networks.includes(value)) &&
    any('ancestor', (value) => isOf(config.spec.image, config.image, value)) &&
    hasLabels(config.labels, filters.get('label')) &&
    before.every((time) => config.created < time) &&
    since.every((time) => config.created > time);
}

/** The ports of the container that are published now. */
function publishedPorts(state: ContainerState): string[] {
  return isRunning(state) ? eachPort(state.ports ?? []).map(formatPort) : [];
}

function check(filters: Filters, key: string, fits: (value: string) => boolean, possible: string): void {
  const wrong = filters.get(key)?.find((value) => !fits(value));
  if (wrong !== undefined)
    throw new UsageError(`invalid argument '${key}=${wrong}' for --filter: expected ${possible}`);
}

function isOf(reference: string, digest: string, wanted: string): boolean {
  const hex = wanted.replace(/^sha256:/, '');
  return (
    reference === wanted ||
    reference === `${wanted}:latest` ||
    (/^[0-9a-f]{4,}$/.test(hex) && digest.startsWith(`sha256:${hex}`))
  );
}

function created(reference: string): string {
  return Container.find(new Home(), reference).config.created;
}
