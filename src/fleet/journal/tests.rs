//! The records on trial; the folds of whole stories are in the tests of `step`.

mod fuzz;
