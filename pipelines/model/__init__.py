"""What is done with any model directory: taken in, calibrated, given a metric, evaluated, traced back."""
