"""The pages that people look at: where a project stands, how well its model does, and on which pictures it errs."""
