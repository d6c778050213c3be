// Properties try the same inputs in each run: what fails once fails again. `TSVM_FUZZ_SEED` chooses
// others (fixtures/fuzz.ts).
import fc from 'fast-check';

fc.configureGlobal({ seed: Number(process.env.TSVM_FUZZ_SEED ?? 1) });
