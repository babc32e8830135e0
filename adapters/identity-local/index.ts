export {
  createPasswordHasher,
  defaultParameters,
  type PasswordHasher,
  type PasswordHasherOptions,
  type Verification,
} from './password-hasher.ts'
