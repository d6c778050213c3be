// The image configs of base images, for a Dockerfile that is looked at and not built: nothing is
// pulled.
import { hasCode } from '../../errors/index.js';
import { buildStore, type Json, remoteConfig } from '../../images/build.js';
import type { Home } from '../../sandbox/index.js';
import type { SurveyOptions } from './surveyed.js';

/** Reads each config once: that of the store's image, else the registry's. */
export function baseConfigs(home: Home): SurveyOptions['baseConfig'] {
  const known = new Map<string, Promise<Json>>();
  return (reference, platform) => {
    const key = `${platform ?? ''} ${reference}`;
    const config = known.get(key) ?? readConfig(home, reference, platform);
    known.set(key, config);
    return config;
  };
}

async function readConfig(home: Home, reference: string, platform: string | undefined): Promise<Json> {
  try {
    const options = { pull: 'never' as const, ...(platform !== undefined && { platform }) };
    const { digest } = await home.images.resolve(reference, options);
    return buildStore(home.path).base(digest).config;
  } catch (error) {
    if (!hasCode(error, 'unknown-image', 'unsupported')) throw error;
    return remoteConfig(reference, platform);
  }
}
