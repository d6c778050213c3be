// The image configs of base images, for a Dockerfile that is looked at and not built: nothing is
// pulled.
import { hasCode } from '../../errors/index.js';
import {
  buildStore,
  formatPlatform,
  isSameMachine,
  type Json,
  MACHINE,
  type Platform,
  remoteConfig,
} from '../../images/build.js';
import type { Home } from '../../sandbox/index.js';
import type { SurveyOptions } from './surveyed.js';

/** Reads each config once: that of the store's image, else the registry's. */
export function baseConfigs(home: Home): SurveyOptions['baseConfig'] {
  const known = new Map<string, Promise<Json>>();
  return (reference, platform) => {
    const key = `${formatPlatform(platform)} ${reference}`;
    const config = known.get(key) ?? readConfig(home, reference, platform);
    known.set(key, config);
    return config;
  };
}

async function readConfig(home: Home, reference: string, given: Platform): Promise<Json> {
  const store = buildStore(home.path);
  const platform = formatPlatform(given);
  try {
    const id = isSameMachine(given, MACHINE)
      ? (await home.images.resolve(reference, { pull: 'never', platform })).digest
      : await store.foreign(reference, given, 'never');
    return store.base(id).config;
  } catch (error) {
    if (!hasCode(error, 'unknown-image', 'unsupported')) throw error;
    return remoteConfig(reference, platform);
  }
}
