// Loads the service. Its code is a program of its own in dist/, because no other command needs it.
import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { builtFile } from '../../../installation/index.js';
import type * as service from '../../../service/index.js';

type Service = typeof service;
type Loader = { importModule(url: string): Promise<Service> };

export function loadService(): Promise<Service> {
  const { importModule } = createRequire(import.meta.url)(builtFile('load.cjs')) as Loader;
  return importModule(pathToFileURL(builtFile('service.js')).href);
}

/** The declaration of `--data`. */
export const DATA = ['--data <FOLDER>', 'folder of the tenants, their images and sandboxes'] as const;

/** Path of the data folder. Supervisors have other working directories. */
export function dataFolder({ data }: { data: string }): string {
  return resolve(data);
}

/**
 * Opens the tenants of the data folder.
 * @param isNew true: the folder may be made
 * @throws ServiceError `bad-request` if it is none, `conflict`, `internal`
 */
export async function openTenants(options: { data: string }, { isNew = false } = {}) {
  const { checkDataFolder, Tenants } = await loadService();
  const folder = dataFolder(options);
  if (!isNew) checkDataFolder(folder);
  return new Tenants(folder);
}
