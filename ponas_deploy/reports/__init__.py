"""Values to rich renderables: what a person sees. No printing, no reading, no arithmetic beyond rounding."""

from ponas_deploy.reports.describe import describe_report

__all__ = ["describe_report"]
