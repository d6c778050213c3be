// Selects networks by --filter.
import { Home, type Network } from '../../../sandbox/internal.js';
import { booleanFilter, hasLabels, matchesPattern, parseFilters } from '../../options/filter.js';

export const FILTERS = ['name', 'id', 'label', 'driver', 'dangling'];
export const DRIVER = 'private';
export const SCOPE = 'local';

/** The networks that match all filters. @throws UsageError for an invalid filter */
export function selectNetworks(words: readonly string[]): Network[] {
  const { networks } = new Home();
  const filters = parseFilters(words, FILTERS);
  const dangling = booleanFilter(filters, 'dangling');
  const fits = (filter: string, matches: (value: string) => boolean) => filters.get(filter)?.some(matches) ?? true;
  return networks
    .list()
    .filter(
      ({ name, id, labels }) =>
        fits('name', (part) => name.includes(part) || matchesPattern(part, name)) &&
        fits('id', (part) => id.startsWith(part)) &&
        fits('driver', (driver) => driver === DRIVER) &&
        hasLabels(labels, filters.get('label')) &&
        (dangling === undefined || dangling === (networks.members(name).length === 0)),
    );
}
