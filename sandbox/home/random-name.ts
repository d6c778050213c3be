// Random names for containers: a quality and a mineral.
import { randomInt } from 'node:crypto';

const QUALITIES = (
  'agile amber ample apt azure bold brave brisk calm clear clever cosy crisp deft eager early fair fast fine firm ' +
  'fleet fond frank fresh gentle glad grand green happy hardy humble ideal jolly keen kind light lively lucid lucky ' +
  'mellow merry mild modest neat nimble noble patient placid plain polite proud quick quiet rapid ready serene sharp ' +
  'silent sleek smart smooth snug solid spry steady still sturdy subtle sunny swift tidy tranquil trusty upbeat vivid ' +
  'warm wise witty zesty'
).split(' ');

const MINERALS = (
  'agate alabaster amazonite anatase andesite apatite aragonite augite azurite basalt bauxite beryl biotite borax ' +
  'calcite chalk chert chromite cinnabar citrine cobalt coral corundum cuprite diamond diorite dolomite emerald ' +
  'epidote feldspar flint fluorite gabbro galena garnet gneiss granite graphite gypsum halite hematite jade jasper ' +
  'kyanite lapis lazurite magnetite malachite marble marl mica obsidian olivine onyx opal peridot perlite pumice ' +
  'pyrite quartz rhyolite ruby rutile sapphire schist selenite shale slate sodalite spinel sulfur talc topaz ' +
  'tourmaline tuff turquoise zeolite zircon'
).split(' ');

/**
 * A name such as `calm_basalt`. From attempt 5 on it has a number, because shorter names were
 * taken.
 */
export function randomName(attempt: number): string {
  const words = `${pick(QUALITIES)}_${pick(MINERALS)}`;
  return attempt < 5 ? words : `${words}${randomInt(1000)}`;
}

function pick(words: readonly string[]): string {
  // `randomInt` excludes its bound, so the word exists.
  return words[randomInt(words.length)]!;
}
