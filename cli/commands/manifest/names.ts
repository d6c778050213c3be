// Names for completion: the lists of manifests of this home.
import { manifestLists } from '../../../images/lists.js';
import { Home } from '../../../sandbox/internal.js';

export function manifestListNames(): string[] {
  return manifestLists(new Home().path).names();
}
