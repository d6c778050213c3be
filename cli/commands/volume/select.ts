// Selects volumes by --filter, and describes them.
import type { Volume, VolumeStore } from '../../../sandbox/internal.js';
import { booleanFilter, type Filters, hasLabels, matchesPattern } from '../../options/filter.js';

export const FILTERS = ['name', 'label', 'dangling'];

/** The volumes that match all filters. @throws UsageError for an invalid filter */
export function selectVolumes(volumes: VolumeStore, filters: Filters): Volume[] {
  const dangling = booleanFilter(filters, 'dangling');
  const names = filters.get('name') ?? [];
  return volumes
    .list()
    .filter(
      ({ name, labels }) =>
        (names.length === 0 || names.some((part) => name.includes(part) || matchesPattern(part, name))) &&
        hasLabels(labels, filters.get('label')) &&
        (dangling === undefined || dangling === (volumes.users(name).length === 0)),
    );
}

/** The details of a volume, in Docker's form. */
export function describeVolume({ name, mountpoint, createdAt, labels, size, inodes }: Volume) {
  return {
    CreatedAt: createdAt,
    Driver: 'local',
    Labels: labels,
    Mountpoint: mountpoint,
    Name: name,
    Options: {
      ...(size === undefined ? {} : { size: String(size) }),
      ...(inodes === undefined ? {} : { inodes: String(inodes) }),
    },
    Scope: 'local',
  };
}
