"""What follows a study: a final model, merged, published, predicting, evaluated and profiled."""
