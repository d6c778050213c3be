// Which machine an image is for: Docker's OS/ARCH[/VARIANT] (containerd, platforms), with the names that builders use for
// the same thing made one.

import { ImageError } from './errors.js';

export interface Platform {
  os: string;
  architecture: string;
  /** `v8`, or '' for the architecture's usual one. */
  variant: string;
}

/** What a guest of tsvm is. */
export const MACHINE: Platform = { os: 'linux', architecture: 'amd64', variant: '' };

const WORD = /^[a-z0-9_.-]{1,64}$/;
const SAME = new Map(Object.entries({ x86_64: 'amd64', 'x86-64': 'amd64', aarch64: 'arm64', i386: '386' }));
const USUAL_VARIANT = new Map(Object.entries({ amd64: 'v1', arm64: 'v8', arm: 'v7' }));

/**
 * Reads `OS/ARCH[/VARIANT]`, or `ARCH` alone.
 *
 * @throws ImageError `bad-reference`
 */
export function parsePlatform(text: string): Platform {
  const words = text.toLowerCase().split('/');
  if (words.length === 1) words.unshift('linux');
  const [os, architecture, variant = ''] = words;
  const isWhole = words.length <= 3 && words.every((word) => WORD.test(word));
  if (!isWhole || os === undefined || architecture === undefined) {
    throw new ImageError('bad-reference', `invalid platform '${text}': OS/ARCH[/VARIANT] is wanted, as linux/amd64`);
  }
  return normalize({ os, architecture, variant });
}

/** One spelling for each platform. */
export function normalize({ os, architecture, variant }: Platform): Platform {
  const name = SAME.get(architecture) ?? architecture;
  return { os, architecture: name, variant: variant === USUAL_VARIANT.get(name) ? '' : variant };
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return `${os}/${architecture}${variant === '' ? '' : `/${variant}`}`;
}

/** Whether both are for the same kind of machine, its variant aside. */
export function isSameMachine(a: Platform, b: Platform): boolean {
  return a.os === b.os && a.architecture === b.architecture;
}

/**
 * How well what is `offered` suits a machine: 0 not at all, and the more the better. A machine runs what is for its own
 * variant, or for a lesser one.
 */
export function suitability(offered: Platform, machine: Platform): number {
  if (!isSameMachine(offered, machine)) return 0;
  const has = variantNumber(offered);
  const wants = variantNumber(machine);
  if (offered.variant === machine.variant) return 1000;
  return has !== null && wants !== null && has < wants ? 1 + has : 0;
}

function variantNumber({ architecture, variant }: Platform): number | null {
  const digits = /^v(\d{1,2})$/.exec(variant === '' ? (USUAL_VARIANT.get(architecture) ?? '') : variant);
  return digits && Number(digits[1]);
}

/** What an image says it is for. */
interface ImagePlatform {
  os: string;
  architecture: string;
}

/** Whether an image is for a machine. What it does not say of itself is no hindrance. */
export function isFor(image: ImagePlatform | undefined, machine: Platform): boolean {
  return image === undefined || isSameMachine(platformOf(image, machine), machine);
}

/**
 * Refuses an image that is for another machine.
 *
 * @throws ImageError `unsupported`
 */
export function checkPlatform(image: ImagePlatform, machine: Platform): void {
  if (isFor(image, machine)) return;
  const wanted = isSameMachine(machine, MACHINE) ? 'this machine runs' : 'wanted is';
  const own = formatPlatform(platformOf(image, machine));
  throw new ImageError('unsupported', `the image is for ${own}; ${wanted} ${formatPlatform(machine)}`);
}

function platformOf({ os, architecture }: ImagePlatform, machine: Platform): Platform {
  return normalize({ os: os || machine.os, architecture: architecture || machine.architecture, variant: '' });
}
